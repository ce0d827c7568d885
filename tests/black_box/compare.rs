//! `husk compare`: what it measures, keeps, shows and refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::husk::{Husk, kvm_is_hardware, said};

/// A comparison of starts, short and with every form written.
struct Compared {
    folder: TempDir,
    said: crate::husk::Said,
}

impl Compared {
    fn by(husk: &Husk, words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let form = |flag: &str| format!("--{flag}={}", folder.path().join(flag).display());
        let forms = ["json", "csv", "markdown", "html"].map(form);
        let mut args = vec!["compare", "-n", "5", "--warmups", "1"];
        args.extend(forms.iter().map(String::as_str));
        args.extend(words);
        let said = husk.say(&args);
        Self { folder, said }
    }

    fn file(&self, form: &str) -> PathBuf {
        self.folder.path().join(form)
    }

    fn text(&self, form: &str) -> String {
        fs::read_to_string(self.file(form)).unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.text("json")).unwrap()
    }
}

const TWICE: [&str; 6] = [
    "--walls",
    "container,container",
    "--suite",
    "start",
    "busybox",
    "echo",
];

#[test]
fn a_wall_beside_itself_keeps_every_sample_and_shows_them_in_every_form() {
    let compared = Compared::by(&Husk::shared(), &TWICE);
    assert_eq!(
        (compared.said.status, compared.said.stderr.as_str()),
        (0, "")
    );
    let report = compared.report();
    assert_eq!(report["complete"], true);
    assert_eq!(report["subject"]["command"], serde_json::json!(["echo"]));
    assert!(
        report["subject"]["digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert!(report["harness_overhead_percent"].as_f64().is_some());
    let starts = report["start"].as_array().unwrap();
    for (start, wall) in starts.iter().zip(["container", "container-2"]) {
        assert_eq!(start["wall"], wall);
        let samples = start["samples"].as_array().unwrap();
        assert_eq!(samples.len(), 5);
        for sample in samples {
            let [first, exit] =
                ["first_byte_ms", "exit_ms"].map(|key| sample[key].as_f64().unwrap());
            assert!(0.0 < first && first <= exit, "{sample}");
            let phases: f64 = sample["phases_ms"]
                .as_object()
                .unwrap()
                .values()
                .filter_map(Value::as_f64)
                .sum();
            assert!(0.0 < phases && phases <= exit, "{sample}");
        }
    }
    let rows = compared.text("csv");
    assert_eq!(
        rows.lines()
            .filter(|row| row.contains(",exit,") || row.contains("exit"))
            .count(),
        10,
        "{rows}"
    );
    assert!(compared.text("markdown").contains("container-2"));
    let page = compared.text("html");
    assert!(page.contains("<svg") && page.contains("prefers-color-scheme"));
    // What it refers to is its own.
    let elsewhere = page.matches("url(").count() - page.matches("url(#").count();
    assert!(
        !page.contains("src=") && elsewhere == 0,
        "a page of one file"
    );
    assert!(
        compared.said.out().contains("container / container-2"),
        "{}",
        compared.said.out()
    );
}

#[test]
fn a_machine_and_a_container_are_compared_start_by_start() {
    let words = [
        "--walls",
        "vm,container",
        "--suite",
        "start",
        "busybox",
        "true",
    ];
    let compared = Compared::by(&Husk::shared(), &words);
    assert_eq!(
        (compared.said.status, compared.said.stderr.as_str()),
        (0, "")
    );
    let report = compared.report();
    let kernel = &report["start"][0]["samples"][0]["phases_ms"]["kernel"];
    let create = &report["start"][1]["samples"][0]["phases_ms"]["create"];
    assert!(
        kernel.as_f64() > Some(0.0) && create.as_f64() > Some(0.0),
        "{report}"
    );
    let kind = if kvm_is_hardware() {
        "hardware"
    } else {
        "software"
    };
    assert_eq!(report["environment"]["kvm"], kind);
    let out = compared.said.out();
    let first = out.lines().next().unwrap();
    assert_eq!(
        first.contains("software KVM"),
        kind == "software",
        "{first}"
    );
}

#[test]
fn instances_calls_and_rights_are_looked_at() {
    let words = [
        "--walls",
        "container,container",
        "--suite",
        "footprint,surface",
        "--instances",
        "1,3",
        "--parallel",
        "2",
        "busybox",
        "true",
    ];
    let compared = Compared::by(&Husk::shared(), &words);
    assert_eq!(
        (compared.said.status, compared.said.stderr.as_str()),
        (0, "")
    );
    let report = compared.report();
    for number in 0..2 {
        let points = report["footprint"][number]["points"].as_array().unwrap();
        let sizes: Vec<_> = points
            .iter()
            .filter_map(|point| point["pss_kib"].as_u64())
            .collect();
        assert!(sizes[0] > 100 && sizes[1] > sizes[0], "{sizes:?}");
        assert!(points[1]["marginal_kib"].as_u64().is_some());
        let rate = &report["footprint"][number]["throughput"][0];
        assert!(
            rate["parallel"] == 2 && rate["starts_per_second"].as_f64() > Some(0.1),
            "{rate}"
        );
        let surface = &report["surface"][number];
        // busybox executes, maps itself, and ends.
        assert!(
            surface["syscalls"]["execve"].is_null() || surface["syscalls"]["exit_group"] == 1,
            "{surface}"
        );
        assert!(
            surface["syscalls"].as_object().unwrap().len() < 40,
            "{surface}"
        );
        assert_eq!(
            (&surface["seccomp"], &surface["no_new_privs"]),
            (&"filter".into(), &true.into())
        );
        assert!(surface["capabilities"].as_array().unwrap().len() >= 13);
    }
}

#[test]
fn the_probe_measures_the_suites_that_are_asked_for_within_the_limits_that_are() {
    let words = [
        "-m",
        "256m",
        "--cpus",
        "1",
        "-u",
        "www-data",
        "--walls",
        "container,container",
        "--suite",
        "start,cpu,net",
        "busybox",
        "true",
    ];
    let compared = Compared::by(&Husk::shared(), &words);
    assert_eq!(
        (compared.said.status, compared.said.stderr.as_str()),
        (0, "")
    );
    let report = compared.report();
    assert_eq!(report["subject"]["memory_bytes"], 256 << 20);
    let work = report["work"].as_array().unwrap();
    let named = |figure: &&Value| figure["probe"].as_str().unwrap().starts_with("host.");
    let outside = work.iter().filter(named).count();
    // Behind two walls, where this host has an address for it and gives containers a network.
    assert!([0, 8].contains(&outside), "{work:?}");
    assert_eq!(work.len(), 8 + outside, "{work:?}");
    for figure in work {
        assert_eq!(figure["samples"].as_array().unwrap().len(), 5, "{figure}");
    }
}

#[test]
fn whether_walls_do_the_same_is_said_and_shown() {
    let diff = |script: &str| {
        let walls = ["--diff", "--walls", "container,container"];
        let command = ["busybox", "sh", "-c", script];
        Compared::by(&Husk::shared(), &[&walls[..], &command].concat())
    };
    let same = diff("echo out; echo err >&2; echo new > /tmp/new; exit 3");
    assert_eq!((same.said.status, same.said.stderr.as_str()), (0, ""));
    let report = same.report();
    assert_eq!(report["parity"]["equal"], true);
    assert!(
        report.get("start").is_none(),
        "--diff alone asks for nothing else"
    );
    let other = diff("head -c 8 /dev/urandom | od -An -tx1 > /tmp/chance");
    assert_eq!((other.said.status, other.said.stderr.as_str()), (1, ""));
    let difference = &other.report()["parity"]["differences"][0];
    assert_eq!(
        (&difference["what"], &difference["path"]),
        (&"files".into(), &"/tmp/chance".into())
    );
    assert!(
        other.said.out().contains("/tmp/chance"),
        "{}",
        other.said.out()
    );
}

#[test]
fn a_report_is_checked_against_an_earlier_one() {
    let husk = Husk::shared();
    let compared = Compared::by(&husk, &TWICE);
    let earlier = compared.file("json").display().to_string();
    let check = |report: &Path| {
        husk.say(&[
            "compare",
            "--from",
            report.to_str().unwrap(),
            "--check",
            &earlier,
        ])
    };
    let same = check(&compared.file("json"));
    assert_eq!((same.status, same.stderr.as_str()), (0, ""));
    let written = |change: &dyn Fn(&mut Value)| {
        let mut report = compared.report();
        change(&mut report);
        let path = compared.file("changed");
        fs::write(&path, report.to_string()).unwrap();
        check(&path)
    };
    let slower = written(&|report| {
        for sample in report["start"][0]["samples"].as_array_mut().unwrap() {
            sample["exit_ms"] = (3.0 * sample["exit_ms"].as_f64().unwrap()).into();
        }
    });
    assert_eq!(slower.status, 1, "{}", slower.stderr);
    assert!(
        slower.stderr.contains("exit") && slower.stderr.contains("container"),
        "{}",
        slower.stderr
    );
    let other = written(&|report| report["subject"]["digest"] = "sha256:0".into());
    other.is_one_clear_line(&["image"]);
    let newer = written(&|report| report["version"] = 99.into());
    newer.is_one_clear_line(&["version 99"]);
}

#[test]
fn what_cannot_be_compared_is_one_clear_line() {
    let husk = Husk::shared();
    let table: [(&[&str], &[&str]); 9] = [
        (
            &["--walls", "container", "busybox", "false"],
            &["`container`", "status 1"],
        ),
        (
            &["--walls", "container", "busybox", "nope"],
            &["`container`", "127", "not found"],
        ),
        (&["-n", "3", "busybox", "true"], &["--samples 3", "30"]),
        (
            &["--walls", "container,nope", "busybox", "true"],
            &["`nope`", "--oci-runtime"],
        ),
        (
            &["--suite", "speed", "busybox", "true"],
            &["`speed`", "start"],
        ),
        (
            &["--instances", "3,1", "busybox", "true"],
            &["--instances", "rising"],
        ),
        (&["nosuch:1", "true"], &["nosuch"]),
        (
            &["--check", "/nonexistent", "busybox", "true"],
            &["/nonexistent"],
        ),
        (&["--entrypoint=", "busybox"], &["no command"]),
    ];
    for (words, expected) in table {
        let said = husk.say(&[&["compare"], words].concat());
        said.is_one_clear_line(expected);
    }
}

#[test]
fn an_interrupted_comparison_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report");
    let flag = format!("--json={}", json.display());
    let words = [
        "compare",
        "--walls",
        "container",
        "--suite",
        "start",
        "-n",
        "10000",
        &flag,
        "busybox",
        "true",
    ];
    let child = Husk::shared().start(&words);
    let has_samples = || {
        let text = fs::read_to_string(&json).unwrap_or_default();
        text.matches("exit_ms").count() >= 3
    };
    let begun = Instant::now();
    while !has_samples() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "no sample in two minutes"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let ended = said(child.wait_with_output().unwrap());
    assert_eq!(ended.status, 130, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("interrupted") && ended.stderr.contains(json.to_str().unwrap()),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(report["complete"], false);
    assert!(report["start"][0]["samples"].as_array().unwrap().len() >= 3);
}
