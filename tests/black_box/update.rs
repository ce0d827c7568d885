//! `husk update`: what machines may use changes while they run, and stays changed, behind both walls.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::background::well;
use crate::husk::{Husk, Said, WALLS, Wall, skip, tool};

/// Runs until somebody makes a file, and fails then.
const WORKLOAD: &str = "echo ready; while [ ! -e /end ]; do sleep 0.2; done; exit 3";

/// Begins eight processes, and says which of them it could.
const EIGHT: &str = "for number in 1 2 3 4 5 6 7 8; do sleep 2 & echo $number; done";

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(90), "never: {what}");
        sleep(Duration::from_millis(50));
    }
}

fn refused(said: &Said, words: &[&str]) {
    assert_eq!(said.status, 1, "{} {}", said.out(), said.stderr);
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    for word in words {
        assert!(said.stderr.contains(word), "`{word}`: {}", said.stderr);
    }
}

fn shown(husk: &Husk, what: &str) -> Value {
    let format = format!("{{{{json .{what}}}}}");
    serde_json::from_str(&well(husk.say(&["inspect", "-f", &format, "one"]))).unwrap()
}

/// A process and all below it.
fn family(husk: &Husk) -> Vec<String> {
    let mut found = vec![shown(husk, "State.Pid").to_string()];
    let mut next = 0;
    while let Some(pid) = found.get(next).cloned() {
        for task in fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
        {
            let children = fs::read_to_string(task.unwrap().path().join("children"));
            let children = children.unwrap_or_default();
            found.extend(children.split_whitespace().map(str::to_owned));
        }
        next += 1;
    }
    found
}

/// On which processors the threads of all its processes may be.
fn processors(husk: &Husk) -> Vec<String> {
    let tasks = family(husk).into_iter().flat_map(|pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        tasks.into_iter().flatten().flatten()
    });
    let lists = tasks.filter_map(|task| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Some(line.trim().to_owned())
    });
    let mut lists: Vec<_> = lists.collect();
    lists.sort();
    lists.dedup();
    lists
}

/// Processor time of all its processes, hundredths of a second.
fn time(husk: &Husk) -> u64 {
    let times = family(husk).into_iter().filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // utime and stime.
        Some(fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?)
    });
    times.sum()
}

/// How many of eight processes could begin.
fn begin_eight(husk: &Husk) -> usize {
    husk.say(&["exec", "one", "sh", "-c", EIGHT])
        .out()
        .lines()
        .count()
}

/// Processes of this husk's that do `verb`.
fn processes(husk: &Husk, verb: &str) -> Vec<String> {
    let home = format!("HUSK_HOME={}", husk.home().display());
    let all = fs::read_dir("/proc").unwrap().flatten();
    let meant = all.filter(|entry| {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let is_ours = read("environ").split('\0').any(|word| word == home);
        is_ours && read("cmdline").split('\0').nth(1) == Some(verb)
    });
    meant
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

fn start(husk: &Husk, flags: &[&str], script: &str) {
    let command = ["busybox", "sh", "-c", script];
    let said = husk.say(&[&["run", "-d", "--name", "one"], flags, &command].concat());
    assert_eq!(said.status, 0, "{}", said.stderr);
    until("it is ready", || {
        husk.say(&["logs", "one"]).out().ends_with("ready\n")
    });
}

#[test]
fn what_a_machine_may_use_changes_while_it_runs_and_stays_so() {
    for husk in WALLS.map(|wall| Husk::fresh().behind(wall)) {
        start(&husk, &["--restart", "on-failure", "--cpus", "1"], WORKLOAD);
        let said = husk.say(&["update", "--pids-limit", "5", "one"]);
        if said.stderr.contains("no control group") {
            skip("this host lets nobody bound a container");
            husk.say(&["rm", "-f", "one"]);
            continue;
        }
        assert_eq!(well(said), "one\n");
        assert!(
            begin_eight(&husk) < 8,
            "five are the workload, and what it does"
        );
        sleep(Duration::from_secs(3));
        let words = ["--pids-limit", "-1", "--cpuset-cpus", "0", "--cpus", "0.5"];
        well(husk.say(&[&["update"], &words[..], &["one"]].concat()));
        assert_eq!(begin_eight(&husk), 8);
        assert_eq!(processors(&husk), ["0"]);
        let words = ["--restart", "no", "--device-write-iops", "100"];
        well(husk.say(&[&["update"], &words[..], &["one"]].concat()));
        let config = shown(&husk, "HostConfig");
        assert_eq!(config["NanoCpus"], 500_000_000);
        assert_eq!(config["CpusetCpus"], "0");
        assert_eq!(config["PidsLimit"], Value::Null);
        assert_eq!(config["RestartPolicy"]["Name"], "no");
        assert_eq!(config["BlkioDeviceWriteIOps"][0]["Rate"], 100);
        // What cannot be is one clear line, and nothing is changed by it.
        let said = husk.say(&["update", "--cpuset-cpus", "0,4095", "one"]);
        refused(&said, &["CPU 4095"]);
        if husk.wall() == Wall::Vm {
            let said = husk.say(&["update", "--cpus", "3", "--pids-limit", "7", "one"]);
            refused(&said, &["--cpus 3", "1 since its start", "husk stop"]);
            let said = husk.say(&["update", "--memory", "1g", "one"]);
            refused(&said, &["--memory", "booted with 512 MiB", "husk stop"]);
        }
        assert_eq!(shown(&husk, "HostConfig"), config);
        assert_eq!(processors(&husk), ["0"]);
        // It fails, and by its new policy that is its end.
        husk.say(&["exec", "one", "touch", "/end"]);
        assert_eq!(husk.say(&["wait", "one"]).out(), "3\n");
        until("it has ended", || shown(&husk, "State.Status") == "exited");
        assert_eq!(shown(&husk, "RestartCount"), 0);
        // One that does not run becomes what it will be: on another processor, where there is one.
        let several = std::thread::available_parallelism().unwrap().get() > 1;
        let other = if several { "1" } else { "0" };
        well(husk.say(&["update", "--memory", "96m", "--cpuset-cpus", other, "one"]));
        assert_eq!(shown(&husk, "HostConfig.Memory"), 96 << 20);
        well(husk.say(&["start", "one"]));
        assert_eq!(processors(&husk), [other]);
        well(husk.say(&["rm", "-f", "one"]));
    }
}

#[test]
fn a_busy_machine_gets_less_of_a_processor_at_once() {
    for husk in WALLS.map(|wall| Husk::fresh().behind(wall)) {
        start(&husk, &[], "echo ready; while :; do :; done");
        let said = husk.say(&["update", "--cpus", "0.05", "one"]);
        if said.stderr.contains("no control group") {
            skip("this host lets nobody bound a container");
            husk.say(&["rm", "-f", "one"]);
            continue;
        }
        well(said);
        let before = time(&husk);
        sleep(Duration::from_secs(4));
        // A twentieth of four seconds is 20; what else its processes do is little.
        let used = time(&husk) - before;
        assert!(used < 60, "{:?}: {used}", husk.wall());
        let limited = used;
        // And more again: as much as others leave it.
        well(husk.say(&["update", "--cpus", "1", "one"]));
        until("it computes again", || {
            let before = time(&husk);
            sleep(Duration::from_secs(4));
            time(&husk) - before > limited + 40
        });
        well(husk.say(&["rm", "-f", "one"]));
    }
}

#[test]
fn a_container_takes_another_memory_while_it_runs() {
    let husk = Husk::fresh().behind(Wall::Container);
    start(&husk, &["-m", "256m"], WORKLOAD);
    let said = husk.say(&["update", "-m", "64m", "one"]);
    if said.stderr.contains("no control group") {
        return skip("this host lets nobody bound a container");
    }
    assert_eq!(well(said), "one\n");
    assert_eq!(shown(&husk, "HostConfig.Memory"), 64 << 20);
    // What is taken beyond it is killed: a shell's variable of 100 MB.
    let grow = [
        "exec",
        "one",
        "sh",
        "-c",
        "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo $?",
    ];
    assert_ne!(husk.say(&grow).status, 0);
    well(husk.say(&["update", "-m", "512m", "one"]));
    let said = husk.say(&grow);
    assert_eq!(
        (said.status, said.out()),
        (0, "0\n".to_owned()),
        "{}",
        said.stderr
    );
    well(husk.say(&["rm", "-f", "one"]));
}

#[test]
fn what_makes_no_sense_is_told_and_the_others_are_changed() {
    let husk = Husk::fresh().behind(Wall::Container);
    let create = |name: &str, more: &[&str]| {
        let words = [&["create", "--name", name], more, &["busybox", "true"]].concat();
        assert_eq!(husk.say(&words).status, 0);
    };
    create("one", &[]);
    create("two", &[]);
    create("gone", &["--rm"]);
    refused(&husk.say(&["update", "one"]), &["give a flag"]);
    let said = husk.say(&["update", "--cpus", "2", "one", "nobody", "two"]);
    refused(&said, &["no machine `nobody`"]);
    assert_eq!(said.out(), "one\ntwo\n");
    assert_eq!(shown(&husk, "HostConfig.NanoCpus"), 2_000_000_000_u64);
    refused(
        &husk.say(&["update", "--cpus", "few", "one"]),
        &["--cpus `few`"],
    );
    let said = husk.say(&["update", "--restart", "always", "gone"]);
    refused(&said, &["--rm", "--restart"]);
}

#[test]
fn a_machine_that_was_started_without_a_policy_gets_one_and_loses_it() {
    for husk in WALLS.map(|wall| Husk::fresh().behind(wall)) {
        start(&husk, &[], WORKLOAD);
        let first = shown(&husk, "State.Pid");
        well(husk.say(&["update", "--restart", "on-failure:2", "one"]));
        // Whoever is there already is enough.
        well(husk.say(&["update", "--restart", "always", "--pids-limit", "-1", "one"]));
        assert_eq!(shown(&husk, "HostConfig.RestartPolicy.Name"), "always");
        husk.say(&["exec", "one", "touch", "/end"]);
        until("it is started again", || {
            shown(&husk, "RestartCount") == 1 && shown(&husk, "State.Status") == "running"
        });
        assert_ne!(shown(&husk, "State.Pid"), first);
        until("it says so", || {
            husk.say(&["logs", "one"]).out() == "ready\nready\n"
        });
        // Killed from outside, it is started once more.
        let pid = shown(&husk, "State.Pid").to_string();
        tool("kill", &["-KILL", &pid]);
        until("it is started after a kill", || {
            shown(&husk, "RestartCount") == 2 && shown(&husk, "State.Status") == "running"
        });
        // By its policy of now this is its end.
        well(husk.say(&["update", "--restart", "no", "one"]));
        husk.say(&["exec", "one", "touch", "/end"]);
        assert_eq!(husk.say(&["wait", "one"]).out(), "3\n");
        assert_eq!(shown(&husk, "State.Status"), "exited");
        // One that got a policy, and lost it while its first run lasts, ends with that; so does one that is stopped.
        for (policies, end) in [(&["always", "no"][..], false), (&["always"], true)] {
            well(husk.say(&["start", "one"]));
            for policy in policies {
                well(husk.say(&["update", "--restart", policy, "one"]));
            }
            match end {
                true => well(husk.say(&["stop", "-t", "0", "one"])),
                false => {
                    husk.say(&["exec", "one", "touch", "/end"]);
                    well(husk.say(&["wait", "one"]))
                }
            };
            assert_eq!(shown(&husk, "State.Status"), "exited");
            well(husk.say(&["update", "--restart", "no", "one"]));
        }
        // Who was to start it again is killed: then it ends, and says how.
        well(husk.say(&["start", "one"]));
        well(husk.say(&["update", "--restart", "always", "one"]));
        let heirs = processes(&husk, "heir");
        assert_eq!(heirs.len(), 1, "{heirs:?}");
        tool("kill", &["-KILL", &heirs[0]]);
        until("it is gone", || processes(&husk, "heir").is_empty());
        husk.say(&["exec", "one", "touch", "/end"]);
        assert_eq!(husk.say(&["wait", "one"]).out(), "3\n");
        assert_eq!(shown(&husk, "State.ExitCode"), 3);
        well(husk.say(&["rm", "-f", "one"]));
    }
}

#[test]
fn a_machine_in_the_foreground_has_nobody_to_start_it_again() {
    let husk = Husk::fresh().behind(Wall::Container);
    let mut run = husk.start(&["run", "--name", "one", "busybox", "sleep", "60"]);
    until("it runs", || {
        husk.say(&["ps", "-q"]).out().lines().count() == 1
    });
    let said = husk.say(&["update", "--restart", "always", "one"]);
    refused(&said, &["foreground", "-d"]);
    assert_eq!(shown(&husk, "HostConfig.RestartPolicy.Name"), "no");
    well(husk.say(&["rm", "-f", "one"]));
    run.wait().unwrap();
}
