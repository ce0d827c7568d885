//! Exit statuses are Docker's.

use crate::husk::Husk;

#[test]
fn the_workloads_own_status_and_its_signals() {
    let husk = Husk::shared();
    let table: [(&[&str], i32); 4] = [
        (&["true"], 0),
        (&["sh", "-c", "exit 42"], 42),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["sh", "-c", "kill -SEGV $$"], 139),
    ];
    for (command, status) in table {
        let said = husk.say(&[&["run", "busybox"], command].concat());
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (status, ""),
            "{command:?}"
        );
    }
}

#[test]
fn what_cannot_be_executed_is_told_apart() {
    let husk = Husk::shared();
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
    for (command, status, words) in table {
        let said = husk.say(&[&["run"], command].concat());
        assert_eq!(said.status, status, "{}", said.stderr);
        assert!(said.stderr.contains(words), "{}", said.stderr);
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    }
}

#[test]
fn a_timeout_kills_and_says_so() {
    let said = Husk::shared().say(&["run", "--timeout", "1", "busybox", "sleep", "1000"]);
    assert_eq!(said.status, 137);
    assert!(said.stderr.contains("--timeout"), "{}", said.stderr);
}
