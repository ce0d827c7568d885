//! The program itself, behind no wall.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

fn probe(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_husk-probe"))
        .args(words)
        .output()
        .unwrap()
}

#[test]
fn every_suite_gives_positive_values() {
    let folder = tempfile::tempdir().unwrap();
    let dir = format!("here={}", folder.path().display());
    let output = probe(&["--budget-ms", "5", "--dir", &dir]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let result: Value = serde_json::from_str(line).unwrap();
        let value = result["value"].as_f64().unwrap();
        assert!(value.is_finite() && value > 0.0, "{line}");
        let (unit, better) = (&result["unit"], &result["better"]);
        assert!(
            (unit == "ns" && better == "lower") || (unit == "GB/s" && better == "higher"),
            "{line}"
        );
        let word = |key: &str| result[key].as_str().unwrap().to_owned();
        found.entry(word("suite")).or_default().push(word("probe"));
    }
    assert_eq!(found["cpu"], ["integer", "float"], "{stderr}");
    assert_eq!(found["memory"], ["copy", "latency"], "{stderr}");
    let syscalls = "getpid clock_gettime mmap page_fault context_switch futex fork_exec";
    assert_eq!(found["syscall"].join(" "), syscalls, "{stderr}");
    assert_eq!(found["net"], ["latency", "throughput"], "{stderr}");
    // Not everybody may write to the root, and not every file system has O_DIRECT.
    for probe in [
        "create", "stat", "unlink", "write_4k", "write_1m", "read_1m",
    ] {
        assert!(found["disk"].contains(&format!("here.{probe}")), "{stderr}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_probe_that_fails_is_a_line_and_only_nothing_at_all_is_a_failure() {
    let words = [
        "--budget-ms",
        "1",
        "--dir",
        "gone=/nowhere/at/all",
        "--suite",
    ];
    let output = probe(&[&words[..], &["cpu,disk"]].concat());
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let line = "husk-probe: disk.gone.directory: cannot make a directory in `/nowhere/at/all`";
    assert!(stderr.contains(line), "{stderr}");
}

#[test]
fn words_that_are_not_understood_are_refused_with_the_usage() {
    let output = probe(&["--suite", "gpu"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("`gpu`") && stderr.contains("usage: "),
        "{stderr}"
    );
}

#[test]
fn a_program_that_can_be_changed_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    fs::copy(env!("CARGO_BIN_EXE_husk-probe"), &copy).unwrap();
    let output = Command::new(&copy).arg("--tamper").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("chmod: done\nrename: done\n"), "{stdout}");
}

#[test]
fn a_folder_of_this_host_is_a_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let output = probe(&["--verify", folder.path().to_str().unwrap(), "7", "2000"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let nowhere = probe(&["--verify", "/nowhere", "7", "2000"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert_eq!(probe(&["--verify", "/nowhere"]).status.code(), Some(2));
}
