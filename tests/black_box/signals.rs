//! Signals given to husk reach the workload, and nothing outlives husk.

use std::fs;
use std::io::Read;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::husk::{Husk, Wall, gives_containers_a_network};

fn send(child: &Child, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Starts a script and waits for its first line.
fn start(husk: &Husk, script: &str) -> Child {
    let mut child = husk.start(&["run", "busybox", "sh", "-c", script]);
    let mut ready = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    assert_eq!(&ready, b"ready\n");
    child
}

/// The processes whose parent is `parent`.
pub fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(") ").next().unwrap_or_default().to_owned();
        after_name.split(' ').nth(1) == Some(&parent.to_string())
    };
    let names = fs::read_dir("/proc").unwrap();
    let pids = names.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(is_child).collect()
}

fn gone_within(pid: u32, limit: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if !fs::exists(format!("/proc/{pid}")).unwrap() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn signals_reach_the_workload() {
    Husk::behind_each().for_each(|husk| check_signals(&husk));
}

fn check_signals(husk: &Husk) {
    let script = "for s in HUP INT QUIT USR1 USR2 TERM; do trap \"echo $s\" $s; done;
        trap 'echo WINCH; exit 7' WINCH; echo ready; while :; do sleep 0.2; done";
    let mut child = start(husk, script);
    let mut stdout = child.stdout.take().unwrap();
    for name in ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH"] {
        send(&child, &format!("-{name}"));
        let mut line = vec![0; name.len() + 1];
        stdout.read_exact(&mut line).unwrap();
        assert_eq!(line, format!("{name}\n").into_bytes());
    }
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

#[test]
fn a_second_sigterm_ends_a_workload_that_does_not_listen() {
    Husk::behind_each().for_each(|husk| check_persistence(&husk));
}

fn check_persistence(husk: &Husk) {
    let mut child = start(husk, "trap '' TERM; echo ready; while :; do sleep 1; done");
    let served = children(child.id());
    send(&child, "-TERM");
    std::thread::sleep(Duration::from_secs(11));
    assert!(
        child.try_wait().unwrap().is_none(),
        "the first SIGTERM is the workload's"
    );
    send(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(
        served
            .into_iter()
            .all(|pid| gone_within(pid, Duration::from_secs(10)))
    );
}

#[test]
fn killing_husk_leaves_no_process_behind() {
    for husk in Husk::behind_each() {
        let mut child = start(&husk, "echo ready; sleep 1000");
        let served = children(child.id());
        // A machine's process; or a container's first one, its leash, and the far end of its network.
        let expected = match husk.wall() {
            Wall::Vm => 1,
            Wall::Container => 2 + usize::from(gives_containers_a_network()),
        };
        assert_eq!(served.len(), expected);
        send(&child, "-KILL");
        child.wait().unwrap();
        assert!(
            served
                .into_iter()
                .all(|pid| gone_within(pid, Duration::from_secs(10)))
        );
    }
}
