//! `--disk`: what is written to the root is on a disk, and not in memory.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::husk::{Husk, kvm_is_hardware, skip, tool};

/// Bytes that the disks of machines take on the host, now.
fn taken(husk: &Husk) -> u64 {
    let folder = husk.home().join("machines");
    let disks = fs::read_dir(folder).into_iter().flatten();
    let files = disks.map(|entry| entry.unwrap().path().join("disk"));
    files
        .filter_map(|file| fs::metadata(file).ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

#[test]
fn the_root_is_as_large_as_the_disk_and_leaves_nothing() {
    let husk = Husk::fresh();
    let script = "df -m / | tail -1 | awk '{print $2}'; chmod 751 /root; echo new > /etc/motd;
        mkdir -p /a/b && mv /a /c && ls /c; rm -r /etc/passwd; ls /etc/passwd; cat /etc/motd; df /dev/shm | tail -1";
    let said = husk.say(&["run", "--rm", "--disk", "3g", "busybox", "sh", "-c", script]);
    let out = said.out();
    let lines: Vec<_> = out.lines().collect();
    assert!(
        (2900..=3072).contains(&lines[0].parse::<u32>().unwrap()),
        "{out}"
    );
    assert_eq!(lines[1..3], ["b", "new"]);
    assert!(
        lines[3].starts_with("shm ") || lines[3].starts_with("tmpfs "),
        "{out}"
    );
    assert!(said.stderr.contains("/etc/passwd"));
    let left = fs::read_dir(husk.home().join("machines")).unwrap();
    assert!(
        left.flatten()
            .all(|entry| !entry.path().join("disk").exists())
    );
}

#[test]
fn it_takes_more_than_memory_has_and_gives_back_what_is_deleted() {
    if !kvm_is_hardware() {
        return skip("hundreds of megabytes: an interpreted kernel takes minutes to write them");
    }
    let husk = Husk::fresh();
    let script = "dd if=/dev/zero of=/large bs=1M count=150 2>/dev/null && sync && echo written
        read go; rm /large; sync; echo deleted; read go";
    let mut child = husk.start(&[
        "run", "--rm", "-i", "-m", "96m", "--disk", "1g", "busybox", "sh", "-c", script,
    ]);
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "written");
    let full = taken(&husk);
    assert!((150 << 20..300 << 20).contains(&full), "{full}");
    stdin.write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "deleted");
    // The guest's kernel discards in its own time.
    let patience = Instant::now() + Duration::from_secs(30);
    while taken(&husk) > 60 << 20 {
        assert!(Instant::now() < patience, "{} of {full}", taken(&husk));
        sleep(Duration::from_millis(50));
    }
    stdin.write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(taken(&husk), 0);
}

/// Whatever ended the run before: its workload's end, or that of husk itself, which is a power failure to the guest.
#[test]
fn what_was_written_is_there_when_the_machine_starts_again() {
    let husk = Husk::fresh();
    let script = "echo run >> /kept; cat /kept; chmod 700 /home; rm -f /etc/motd; sync; echo synced; sleep 1000";
    let first = [
        "run", "-d", "--name", "db", "--disk", "1g", "busybox", "sh", "-c", script,
    ];
    for (run, verb) in [&first[..], &["start", "db"], &["start", "db"]]
        .into_iter()
        .enumerate()
    {
        assert_eq!(husk.say(verb).status, 0);
        let patience = Instant::now() + Duration::from_secs(120);
        while husk.say(&["logs", "db"]).out().matches("synced").count() <= run {
            assert!(Instant::now() < patience);
            sleep(Duration::from_millis(100));
        }
        if run == 0 {
            let pid = husk.say(&["inspect", "-f", "{{.State.Pid}}", "db"]).out();
            tool("kill", &["-9", pid.trim()]);
            while husk.say(&["ps", "-q"]).out() != "" {
                sleep(Duration::from_millis(50));
            }
        } else {
            assert_eq!(husk.say(&["stop", "-t", "0", "db"]).status, 0);
        }
    }
    let shown = husk.say(&["logs", "db"]).out();
    let runs = |count| "run\n".repeat(count) + "synced\n";
    assert_eq!(shown, runs(1) + &runs(2) + &runs(3));
    assert!(taken(&husk) > 0);
    assert_eq!(husk.say(&["rm", "db"]).status, 0);
    assert_eq!(taken(&husk), 0);
}

#[test]
fn sizes_that_make_no_sense_are_one_clear_line() {
    let husk = Husk::shared();
    for (size, says) in [
        ("1m", "64m at least"),
        ("99t", "16t at most"),
        ("much", "--disk"),
    ] {
        husk.say(&["run", "--disk", size, "busybox", "true"])
            .is_one_clear_line(&[size, says]);
    }
    husk.say(&[
        "run",
        "--wall",
        "container",
        "--disk",
        "1g",
        "busybox",
        "true",
    ])
    .is_one_clear_line(&["--disk", "--wall"]);
}
