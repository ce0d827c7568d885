//! `cargo bench --bench run [-- RUNS]`: the phases of `husk run busybox true`, in milliseconds.
//!
//! Every sample is printed as it comes; the last line has the medians. Promised on a software KVM:
//! 8000 ms in all, 1500 ms of it after init is up.

use std::collections::BTreeMap;
use std::process::Command;

/// Runs unless said otherwise.
const RUNS: usize = 5;

fn main() {
    let asked = std::env::args().filter_map(|word| word.parse().ok()).next();
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut samples: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    // The first run unpacks the kernel and loads the image: it warms the store, and is not counted.
    for number in 0..=asked.unwrap_or(RUNS) {
        let phases = run(home.path());
        if number == 0 {
            continue;
        }
        println!("{}", show(&phases));
        for (phase, length) in phases {
            samples.entry(phase).or_default().push(length);
        }
    }
    let medians = samples
        .into_iter()
        .map(|(phase, lengths)| (phase, median(lengths)));
    println!("median: {}", show(&medians.collect()));
}

fn run(home: &std::path::Path) -> BTreeMap<String, f64> {
    let output = Command::new(env!("CARGO_BIN_EXE_husk"))
        .args(["run", "--rm", "--json", "busybox", "true"])
        .env("HUSK_HOME", home)
        .output()
        .expect("husk starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    let document: serde_json::Value =
        serde_json::from_str(stderr.lines().last().unwrap_or_default()).expect("--json is JSON");
    let phases = document["phases_ms"]
        .as_object()
        .expect("phases_ms is an object")
        .clone();
    let number = |value: serde_json::Value| value.as_f64().expect("a phase is a number");
    let mut all: BTreeMap<_, _> = phases.into_iter().map(|(k, v)| (k, number(v))).collect();
    let after_init = ["init", "workload", "teardown"]
        .iter()
        .filter_map(|phase| all.get(*phase))
        .sum();
    all.insert("after-init".to_owned(), after_init);
    all.insert("total".to_owned(), number(document["total_ms"].clone()));
    all
}

fn show(phases: &BTreeMap<String, f64>) -> String {
    phases
        .iter()
        .map(|(phase, length)| format!("{phase} {length:.1}  "))
        .collect()
}

fn median(mut lengths: Vec<f64>) -> f64 {
    lengths.sort_by(f64::total_cmp);
    lengths[lengths.len() / 2]
}
