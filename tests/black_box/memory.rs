//! `--memory-reservation`: memory that a machine does not need is the host's again; and `update --memory`: a machine that runs
//! has less, or as much as it booted with.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::background::well;
use crate::husk::{Husk, Said, WALLS, Wall, kvm_is_hardware, skip};

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

/// Runs `script` in it.
fn does(husk: &Husk, script: &str) -> Said {
    husk.say(&["exec", "one", "sh", "-c", script])
}

/// KiB that its programs are told they have.
fn total(husk: &Husk) -> u64 {
    let line = well(does(husk, "grep MemTotal /proc/meminfo"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn start(husk: &Husk, flags: &[&str]) {
    let words = ["busybox", "sh", "-c", "while :; do sleep 1; done"];
    well(husk.say(&[&["run", "-d", "--name", "one"], flags, &words].concat()));
}

/// Takes so many MiB, and lets them go again; MiB that it holds of the host's after each.
fn fill(husk: &Husk, mib: u64) -> (u64, u64) {
    let script =
        "mkdir -p /mnt && mount -t tmpfs -o size=300m none /mnt && dd if=/dev/zero of=/mnt/x bs=1M";
    well(does(husk, &format!("{script} count={mib} 2>/dev/null")));
    let full = held(husk);
    well(does(husk, "rm /mnt/x && umount /mnt"));
    (full, held(husk))
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "never: {what}");
        sleep(Duration::from_millis(200));
    }
}

fn refused(said: &Said, words: &[&str]) {
    assert_eq!((said.status, said.stderr.lines().count()), (1, 1));
    for word in words {
        assert!(said.stderr.contains(word), "`{word}`: {}", said.stderr);
    }
}

#[test]
fn memory_of_a_machine_that_runs_is_lowered_and_raised_again() {
    let husk = Husk::fresh();
    start(&husk, &["-m", "72m"]);
    let update = |size: &str| husk.say(&["update", "-m", size, "one"]);
    let kept = || well(husk.say(&["inspect", "-f", "{{.HostConfig.Memory}}", "one"]));
    let all = total(&husk);
    let (_, full) = fill(&husk, 16);
    // More than it booted with, and less than it could do with: nothing is changed.
    refused(&update("73m"), &["booted with 72 MiB", "husk stop"]);
    refused(
        &update("20m"),
        &["runs in it needs", "of its 72 MiB", "husk stop"],
    );
    assert_eq!((total(&husk), kept()), (all, format!("{}\n", 72 << 20)));
    well(husk.say(&["pause", "one"]));
    refused(&update("48m"), &["paused"]);
    well(husk.say(&["unpause", "one"]));
    // Less: its programs see it, and the host has it.
    assert_eq!(well(update("48m")), "one\n");
    assert_eq!(total(&husk), all - (24 << 10));
    assert!(held(&husk) < full - 8, "{} of {full}", held(&husk));
    assert_eq!(kept(), format!("{}\n", 48 << 20));
    let stats = husk.say(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "one"]);
    assert!(well(stats).ends_with("/ 48 MiB\n"));
    // What cannot be is told before memory is given that may not be had again.
    let words = ["--cpuset-cpus", "4095", "-m", "70m"];
    let said = husk.say(&[&["update"], &words[..], &["one"]].concat());
    refused(&said, &["CPU 4095"]);
    assert_eq!(total(&husk), all - (24 << 10));
    // It is a bound: who wants more is killed, and nobody else.
    let buffer = "dd if=/dev/zero of=/dev/null bs=36M count=1 2>/dev/null && echo had it";
    if kvm_is_hardware() {
        let said = does(&husk, buffer);
        assert_eq!((said.status != 0, said.out()), (true, String::new()));
        assert_eq!(total(&husk), all - (24 << 10));
    } else {
        skip("who wants more than the bound is killed: 18000 page faults of an interpreted kernel");
    }
    // As much as before.
    well(update("72m"));
    assert_eq!(total(&husk), all);
    if kvm_is_hardware() {
        assert_eq!(well(does(&husk, buffer)), "had it\n");
    }
    // What it has when it is started again is what it had last.
    well(update("64m"));
    well(husk.say(&["restart", "-t", "0", "one"]));
    let less = total(&husk);
    assert!(less < all - (7 << 10), "{less} of {all}");
    refused(&update("72m"), &["booted with 64 MiB"]);
    well(husk.say(&["rm", "-f", "one"]));
}

#[test]
fn a_machine_that_was_started_without_a_reservation_gets_one() {
    let husk = Husk::fresh();
    start(&husk, &["-m", "256m"]);
    let (_, full) = fill(&husk, 32);
    // Both at once: two balloons.
    let words = ["--memory-reservation", "32m", "--memory", "248m"];
    let all = total(&husk);
    well(husk.say(&[&["update"], &words[..], &["one"]].concat()));
    assert_eq!(total(&husk), all - (8 << 10));
    until("it gives back what it freed", || held(&husk) + 16 < full);
    let shown = husk.say(&["inspect", "-f", "{{.HostConfig.MemoryReservation}}", "one"]);
    assert_eq!(well(shown), format!("{}\n", 32 << 20));
    // And again, by the same one.
    well(husk.say(&["update", "--memory-reservation", "64m", "one"]));
    assert_eq!(well(does(&husk, "echo lives")), "lives\n");
    well(husk.say(&["rm", "-f", "one"]));
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
