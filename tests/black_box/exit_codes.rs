//! Exit statuses are Docker's.

use crate::husk::Husk;

#[test]
fn the_workloads_own_status_and_its_signals() {
    let table: [(&[&str], i32); 2] = [(&["true"], 0), (&["sh", "-c", "exit 42"], 42)];
    for husk in Husk::behind_each() {
        for (command, status) in table {
            let said = husk.say(&[&["run", "busybox"], command].concat());
            let ended = (said.status, said.stderr.as_str());
            assert_eq!(ended, (status, ""), "{:?}: {command:?}", husk.wall());
        }
    }
    // In a container the workload is PID 1, to whom nobody inside can send these, as with docker.
    for (signal, status) in [("KILL", 137), ("SEGV", 139)] {
        let said =
            Husk::shared().say(&["run", "busybox", "sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (status, ""),
            "{signal}"
        );
    }
}

#[test]
fn what_cannot_be_executed_is_told_apart() {
    let table: [(&[&str], i32, &str); 3] = [
        (
            &["busybox", "no-such-command"],
            127,
            "`no-such-command`: command not found",
        ),
        (
            &["busybox", "/etc/passwd"],
            126,
            "`/etc/passwd`: cannot be executed: permission denied",
        ),
        (&["busybox", "/"], 126, "`/`: cannot be executed"),
    ];
    for husk in Husk::behind_each() {
        for (command, status, words) in table {
            let said = husk.say(&[&["run"], command].concat());
            assert_eq!(said.status, status, "{}", said.stderr);
            assert!(said.stderr.contains(words), "{}", said.stderr);
            assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
        }
    }
}

#[test]
fn a_timeout_kills_and_says_so() {
    for husk in Husk::behind_each() {
        let said = husk.say(&["run", "--timeout", "1", "busybox", "sleep", "1000"]);
        assert_eq!(said.status, 137);
        assert!(said.stderr.contains("--timeout"), "{}", said.stderr);
    }
}
