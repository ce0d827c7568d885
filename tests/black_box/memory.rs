//! `--memory-reservation`: memory that a machine does not need is the host's again.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::background::well;
use crate::husk::{Husk, WALLS, Wall, kvm_is_hardware};

/// MiB that the process of the machine holds, as the host counts them.
fn held(husk: &Husk) -> u64 {
    let keeper = well(husk.say(&["inspect", "-f", "{{.State.Pid}}", "one"]));
    let keeper = keeper.trim();
    let tasks = fs::read_dir(format!("/proc/{keeper}/task")).unwrap();
    let children = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")));
    let children: String = children.map(Result::unwrap).collect();
    let machine = children.split_whitespace().find(|pid| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with("husk-machine")
    });
    let status = fs::read_to_string(format!("/proc/{}/status", machine.unwrap())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib >> 10
}

#[test]
fn what_a_machine_has_freed_is_the_hosts_again() {
    let husk = Husk::fresh();
    // An interpreted kernel takes seconds for each of them.
    let (mib, again) = if kvm_is_hardware() {
        (200, 24)
    } else {
        (24, 1)
    };
    let flags = ["-m", "512m", "--memory-reservation", "96m"];
    let words = ["busybox", "sh", "-c", "while :; do sleep 1; done"];
    well(husk.say(&[&["run", "-d", "--name", "one"], &flags[..], &words].concat()));
    let does = |script: &str| well(husk.say(&["exec", "one", "sh", "-c", script]));
    let before = held(&husk);
    let fill = format!(
        "mkdir /mnt && mount -t tmpfs -o size=300m none /mnt && dd if=/dev/zero of=/mnt/x bs=1M count={mib} 2>/dev/null"
    );
    does(&fill);
    let full = held(&husk);
    assert!(full >= before + mib * 3 / 4, "{before} {full}");
    does("rm /mnt/x");
    // The guest's kernel reports in its own time.
    let begun = Instant::now();
    while held(&husk) > full - mib / 2 {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{} of {full}",
            held(&husk)
        );
        sleep(Duration::from_millis(200));
    }
    // It has all of its memory, again and again; and what it is pressed towards may change.
    does(&format!(
        "dd if=/dev/zero of=/mnt/x bs=1M count={again} 2>/dev/null && rm /mnt/x"
    ));
    well(husk.say(&["update", "--memory-reservation", "64m", "one"]));
    let shown = husk.say(&["inspect", "-f", "{{.HostConfig.MemoryReservation}}", "one"]);
    assert_eq!(well(shown), "67108864\n");
    // A bound that a guest in need gives up is none; what helps is said.
    let said = husk.say(&["update", "-m", "128m", "--memory-reservation", "32m", "one"]);
    assert_eq!((said.status, said.stderr.lines().count()), (1, 1));
    for word in [
        "512 MiB since its start",
        "husk stop",
        "--memory-reservation",
    ] {
        assert!(said.stderr.contains(word), "{}", said.stderr);
    }
    well(husk.say(&["rm", "-f", "one"]));
}

#[test]
fn reservations_that_make_no_sense_are_told() {
    for husk in WALLS.map(|wall| Husk::fresh().behind(wall)) {
        let run = |reservation| {
            let flags = ["run", "-m", "128m", "--memory-reservation", reservation];
            husk.say(&[&flags[..], &["busybox", "true"]].concat())
        };
        run("256m").is_one_clear_line(&["--memory-reservation", "128 MiB of --memory"]);
        run("some").is_one_clear_line(&["--memory-reservation", "`some`"]);
        if husk.wall() == Wall::Container {
            assert_eq!(run("64m").status, 0);
        }
    }
}
