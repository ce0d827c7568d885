//! stdin, stdout and stderr: three streams, binary-safe, with back-pressure.

use std::io::{Read, Write};

use crate::husk::{Husk, said};

#[test]
fn stdout_and_stderr_are_apart() {
    for husk in Husk::behind_each() {
        let said = husk.say(&["run", "busybox", "sh", "-c", "echo out; echo err >&2"]);
        assert_eq!(
            (said.status, said.out().as_str(), said.stderr.as_str()),
            (0, "out\n", "err\n")
        );
    }
}

#[test]
fn every_byte_comes_back() {
    let mut seed = 1u32;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    })
    .take(3 << 20)
    .collect();
    for husk in Husk::behind_each() {
        let said = husk.feed(&["run", "-i", "busybox", "cat"], &bytes);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""));
        assert!(
            said.stdout == bytes,
            "{} bytes came back of {}",
            said.stdout.len(),
            bytes.len()
        );
    }
}

#[test]
fn a_closed_reader_ends_the_workload_as_sigpipe() {
    for husk in Husk::behind_each() {
        // As PID 1 of a container the workload itself would not end by a signal, only by the error.
        let mut child = husk.start(&["run", "busybox", "sh", "-c", "yes; exit $?"]);
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0; 4];
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let said = said(child.wait_with_output().unwrap());
        assert_eq!(
            (&first, said.status, said.stderr.as_str()),
            (b"y\ny\n", 141, "")
        );
    }
}

#[test]
fn without_i_stdin_is_empty_and_with_it_ends() {
    Husk::behind_each().for_each(|husk| check_stdin(&husk));
}

fn check_stdin(husk: &Husk) {
    let said = husk.feed(&["run", "busybox", "wc", "-c"], b"not for the workload");
    assert_eq!((said.out().trim(), said.stderr.as_str()), ("0", ""));
    let mut child = husk.start(&[
        "run",
        "-i",
        "busybox",
        "sh",
        "-c",
        "read a; echo got $a; cat",
    ]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    let mut answer = [0; 8];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut answer)
        .unwrap();
    assert_eq!(&answer, b"got one\n");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_workload_that_stops_reading_does_not_stop_the_run() {
    for husk in Husk::behind_each() {
        let head = ["run", "-i", "busybox", "head", "-c", "3"];
        let said = husk.feed(&head, &[b'x'; 1 << 20]);
        assert_eq!(
            (said.status, said.out().as_str()),
            (0, "xxx"),
            "{}",
            said.stderr
        );
    }
}
