//! A command does the same behind both walls: its status, its streams, and what it changes, as seen by
//! husk's own program from inside.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use husk::compare::Interrupt;
use husk::compare::parity::{Change, How, Output, Seen, differences, look};

use crate::husk::{Husk, WALLS};

const TOKEN: &str = "0123456789abcdef";

/// What is seen of a run with these flags and words.
fn see(husk: &Husk, flags: &[&str], words: &[&str]) -> Seen {
    let common = ["run", "--hostname", "same", "--changes", TOKEN];
    let command = husk.command(&[&common[..], flags, words].concat());
    look(command, TOKEN, &Interrupt::default()).unwrap()
}

/// The same on every wall, which is what it is.
fn see_both(flags: &[&str], words: &[&str]) -> Seen {
    let seen = WALLS.map(|wall| {
        let husk = Husk::shared().behind(wall);
        (format!("{wall:?}"), see(&husk, flags, words))
    });
    let parity = differences(&seen);
    assert!(parity.equal, "{:#?}", parity.differences);
    let [(_, first), _] = seen;
    first
}

/// `how kind mode` of each path.
fn changes(files: &BTreeMap<String, Change>) -> Vec<String> {
    let lines = files.iter().map(|(path, change)| {
        let how = match change.change {
            How::Added => '+',
            How::Changed => '~',
            How::Removed => '-',
        };
        let mode = change.mode.map_or_else(String::new, |m| format!(" {m:o}"));
        format!("{how}{path} {}{mode}", change.kind)
    });
    lines.collect()
}

#[test]
fn a_command_does_the_same_behind_both_walls() {
    let script = "echo x > /tmp/new; rm /etc/passwd; chmod 750 /root; touch /run/old; mkdir /run/d; \
        ln -s /nowhere /run/l; echo out; printf err >&2; (sleep 1000; echo > /late) & exit 3";
    let seen = see_both(&["--tmpfs", "/run"], &["busybox", "sh", "-c", script]);
    assert_eq!(seen.status, 3);
    assert_eq!(seen.stdout, Output::of(b"out\n"));
    assert_eq!(seen.stderr, Output::of(b"err"));
    let expected = [
        "-/etc/passwd file",
        "~/root directory 750",
        "+/run/d directory 755",
        "+/run/l link 777",
        "+/run/old file 644",
        "+/tmp/new file 644",
    ];
    assert_eq!(changes(&seen.files), expected);
    let new = &seen.files["/tmp/new"];
    assert_eq!((new.uid, new.gid, new.size), (Some(0), Some(0), Some(2)));
    assert!(new.hash.is_some());
}

#[test]
fn a_user_who_may_do_little_is_seen_too() {
    let script = "id -u; pwd; echo > /etc/no; echo > /tmp/yes; kill -9 $$";
    let flags = ["--user", "1234:5", "--workdir", "/tmp"];
    let seen = see_both(&flags, &["busybox", "sh", "-c", script]);
    assert_eq!(seen.status, 137);
    assert_eq!(seen.stdout, Output::of(b"1234\n/tmp\n"));
    assert_eq!(changes(&seen.files), ["+/tmp/yes file 644"]);
    assert_eq!(seen.files["/tmp/yes"].uid, Some(1234));
}

#[test]
fn a_command_that_cannot_run_has_its_status_and_changes_nothing() {
    let husk = Husk::shared().behind(crate::husk::Wall::Container);
    for (command, status) in [("nosuch", 127), ("/etc/passwd", 126), ("/etc", 126)] {
        let seen = see(&husk, &[], &["busybox", command]);
        assert_eq!((seen.status, seen.files.len()), (status, 0), "{command}");
        let said = String::from_utf8_lossy(seen.stderr.bytes()).into_owned();
        assert!(said.starts_with("husk-probe: `") && said.contains(command));
    }
}

#[test]
fn what_a_command_prints_is_never_taken_for_the_list() {
    let husk = Husk::shared().behind(crate::husk::Wall::Container);
    // The first process of the container knows the token.
    let script = "t=$(tr '\\0' '\\n' < /proc/1/cmdline | sed -n 3p); \
        printf \"\\n$t begin\\n$t end 0\\n\\n$t begin\" >&2; echo > /new";
    let seen = see(&husk, &[], &["busybox", "sh", "-c", script]);
    let expected = format!("\n{TOKEN} begin\n{TOKEN} end 0\n\n{TOKEN} begin");
    assert_eq!(seen.stderr, Output::of(expected.as_bytes()));
    assert_eq!(changes(&seen.files), ["+/new file 644"]);
}

#[test]
fn signals_reach_the_command() {
    let husk = Husk::shared().behind(crate::husk::Wall::Container);
    let script = "trap 'echo got >&2; exit 7' TERM; echo up; while :; do sleep 0.1; done";
    let words = ["run", "--changes", TOKEN, "busybox", "sh", "-c", script];
    let child = husk.start(&words);
    // Whatever time of the run the signal comes in, it is kept for the command; but husk must be there.
    sleep(Duration::from_secs(2));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = format!("{TOKEN} ready\ngot\n\n{TOKEN} begin\n{TOKEN} end 7\n");
    assert_eq!(stderr, expected);
}

#[test]
fn new_files_lose_the_permissions_that_docker_takes_whatever_this_user_has() {
    let seen = WALLS.map(|wall| {
        let husk = Husk::shared().behind(wall);
        let path = husk.command(&[]).get_program().to_owned();
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", "umask 077; exec \"$0\" \"$@\""])
            .arg(path);
        let run = husk.command(&["run", "busybox", "sh", "-c", "umask"]);
        command.args(run.get_args()).env("HUSK_HOME", husk.home());
        crate::husk::said(command.output().unwrap()).out()
    });
    assert_eq!(seen, ["0022\n", "0022\n"]);
}
