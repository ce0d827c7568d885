//! The guard of what a run costs can fail, and names what grew: figures are made of what the lab saw,
//! and doctored baselines are compared with them (tests/lab/figures.py, tests/lab/guard.py).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Runs a script of the lab with `input`.
fn script(name: &str, words: &[&str], input: &str) -> Output {
    let path = format!("{}/tests/lab/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new("python3")
        .arg(path)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let written = child.stdin.take().unwrap().write_all(input.as_bytes());
    written.unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What the lab sees of one run of each kind: 1,000 instructions of KVM around every stay in the guest,
/// which executes 1, then 5,001, then after init's first word 9; and a tick of the host among them.
fn records() -> String {
    let trace = "
        sh-1   [000] .....  1000000: tracing_mark_write: begin
   a vcpu-8    [000] d..1.  2000000: kvm_entry: vcpu 0, rip 0xfffbb000
   a vcpu-8    [000] .....  2001002: kvm_exit: vcpu 0 reason io rip 0xfffbb004 info1 0x0
   a vcpu-8    [000] d..1.  6000000: kvm_entry: vcpu 0, rip 0x1000000
   a vcpu-8    [000] .....  6001001: kvm_exit: vcpu 0 reason npf rip 0x1000000 info1 0x0
   a vcpu-8    [000] d..1.  6100000: kvm_entry: vcpu 0, rip 0x1000000
    <idle>-0   [000] d.h1.  6100100: local_timer_entry: vector=236
    <idle>-0   [000] d.h1.  6102100: local_timer_exit: vector=236
   a vcpu-8    [000] .....  6108001: kvm_exit: vcpu 0 reason cpuid rip 0x401005 info1 0x0
   a vcpu-8    [000] .....  6108500: kvm_cpuid: func 6b737568 idx 0 rax 0 rbx 0 rcx 0 rdx 0
   a vcpu-8    [000] d..1.  6200000: kvm_entry: vcpu 0, rip 0x401007
   a vcpu-8    [000] .....  6201009: kvm_exit: vcpu 0 reason io rip 0xffffffff81000000 info1 0x0
        sh-1   [000] .....  9201009: tracing_mark_write: end";
    let area = |from: u64, pages: u64, name: &str, kib: [u64; 4]| {
        format!(
            "{:x}-{:x} rw-p 00000000 00:00 0    {name}\nRss: {} kB\nPrivate_Clean: {} kB\n\
             Private_Dirty: {} kB\nAnonymous: {} kB\n",
            from << 12,
            (from + pages) << 12,
            kib[0],
            kib[1],
            kib[2],
            kib[3],
        )
    };
    // An arena that malloc reserved, the guest's memory with its kernel's file in it, a program.
    let machine = [
        area(0x10000, 32768, "", [0, 0, 0, 0]),
        area(0x20000, 4096, "", [100, 0, 100, 100]),
        area(0x21000, 1024, "/vmlinux", [2048, 1024, 0, 0]),
        area(0x21400, 27648, "", [2972, 0, 2972, 2972]),
        area(0x50000, 512, "/husk", [900, 600, 24, 24]),
        area(0x60000, 512, "[heap]", [1000, 0, 1000, 1000]),
    ];
    format!(
        "@ time husk 40.000\n{{\"phases_ms\": {{\"spec\": 0.5, \"load\": 12.0}}}}\n\
         @ time husk-2g 41.500\n{{}}\n\
         @ time container 16.000\n{{\"phases_ms\": {{\"create\": 9.0, \"teardown\": 2.0}}}}\n\
         @ time runc 80.000\n{{\"phases_ms\": {{\"create\": 70.0}}}}\n@ trace husk{trace}\n@ trace husk-first{trace}\n\
         @ memory husk machine\n{}\n@ verb exec 5.250\n",
        machine.concat()
    )
}

fn figures() -> Value {
    let made = script("figures.py", &["make", "a kernel", "7.2"], &records());
    assert!(made.status.success(), "{}", text(&made.stderr));
    serde_json::from_slice(&made.stdout).unwrap()
}

/// Compares two sets of figures.
fn compare(baseline: &Value, now: &Value) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["baseline", "now"].map(|name| folder.path().join(name));
    fs::write(&paths[0], baseline.to_string()).unwrap();
    fs::write(&paths[1], now.to_string()).unwrap();
    let paths = paths.each_ref().map(|path| path.to_str().unwrap());
    let output = script("guard.py", &paths, "");
    (
        output.status.code(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

/// Compares today's figures with a baseline that `doctor` was at.
fn check(doctor: impl Fn(&mut Value)) -> (Option<i32>, String) {
    let now = figures();
    let mut baseline = now.clone();
    doctor(&mut baseline);
    compare(&baseline, &now)
}

/// The figure of that name.
fn figure<'a>(document: &'a mut Value, name: &str) -> &'a mut Value {
    let all = document["figures"].as_array_mut().unwrap();
    all.iter_mut()
        .find(|figure| figure["name"] == name)
        .unwrap()
}

fn set(name: &'static str, value: f64) -> impl Fn(&mut Value) {
    move |document| figure(document, name)["value"] = json!(value)
}

#[test]
fn figures_are_what_the_lab_saw() {
    let mut document = figures();
    let mut value = |name| figure(&mut document, name)["value"].as_f64().unwrap();
    for (name, expected) in [
        ("husk.whole", 40.0),
        ("husk.phase.load", 12.0),
        ("husk.host_side", 5.0),
        ("husk.guest_instructions", 5_000.0),
        ("husk.exits", 3.0),
        ("husk.exits.npf", 1.0),
        ("husk.teardown", 3.0),
        ("husk.vmm_private", 1.0),
        ("husk.guest_touched", 5.0),
        ("husk.more_ram", 1.5),
        ("husk.exec", 5.25),
        ("container.whole", 16.0),
        ("container.ratio", 2.5),
        ("container.phase.create", 9.0),
        ("runc.whole", 80.0),
        ("runc.ratio", 0.5),
    ] {
        assert!(
            (value(name) - expected).abs() < 1e-9,
            "{name}: {}",
            value(name)
        );
    }
}

#[test]
fn a_peer_that_never_came_to_its_init_is_no_peer() {
    let lost = records().replace("trace husk-first", "trace qemu-microvm");
    let made = script(
        "figures.py",
        &["make", "a kernel", "7.2"],
        &lost.replace("kvm_cpuid", "x"),
    );
    assert_eq!(made.status.code(), Some(125));
    assert!(text(&made.stderr).contains("qemu-microvm never came to its init"));
}

#[test]
fn equal_figures_pass() {
    let (status, said) = check(|_| ());
    assert_eq!((status, said.lines().count()), (Some(0), 1), "{said}");
}

#[test]
fn a_phase_that_grew_fails_by_its_name() {
    let (status, said) = check(set("husk.phase.load", 11.6));
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("worse: husk.phase.load: baseline 11.6 ms, now 12.0 ms, +3.4%"),
        "{said}"
    );
}

#[test]
fn small_differences_of_small_figures_pass() {
    assert_eq!(check(set("husk.phase.load", 11.7)).0, Some(0));
    assert_eq!(check(set("husk.phase.spec", 0.41)).0, Some(0));
    assert_eq!(check(set("husk.phase.spec", 0.39)).0, Some(1));
}

#[test]
fn a_container_is_watched_and_another_runtime_is_not() {
    let (status, said) = check(set("container.phase.create", 8.5));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("worse: container.phase.create"), "{said}");
    for name in ["runc.whole", "runc.phase.create", "container.ratio"] {
        assert_eq!(check(set(name, 0.1)).0, Some(0), "{name}");
    }
}

#[test]
fn what_became_better_asks_for_a_new_baseline() {
    let (status, said) = check(set("husk.phase.load", 13.0));
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("better: husk.phase.load") && said.contains("--json"),
        "{said}"
    );
}

#[test]
fn a_promise_that_was_kept_is_kept() {
    let (mut baseline, mut now) = (figures(), figures());
    set("husk.teardown", 7.9)(&mut baseline);
    set("husk.teardown", 7.99)(&mut now);
    assert_eq!(compare(&baseline, &now).0, Some(0));
    set("husk.teardown", 8.01)(&mut now);
    let (status, said) = compare(&baseline, &now);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("promise broken: husk.teardown"), "{said}");
    // Nobody breaks a promise that was not kept before.
    set("husk.teardown", 8.005)(&mut baseline);
    assert_eq!(compare(&baseline, &now).0, Some(0));
}

#[test]
fn what_cannot_be_compared_is_one_line() {
    let no_figure = |document: &mut Value| {
        document["figures"]
            .as_array_mut()
            .unwrap()
            .retain(|one| one["name"] != "husk.teardown");
    };
    for (status, said) in [
        check(|document| document["schema"] = json!(99)),
        check(no_figure),
        check(|document| *document = json!("not figures")),
    ] {
        assert_eq!((status, said.lines().count()), (Some(125), 1), "{said}");
    }
    let nowhere = script("guard.py", &["/nowhere"], "");
    assert_eq!(nowhere.status.code(), Some(125));
}

#[test]
fn another_lab_is_said_and_not_compared() {
    let (status, said) = check(|document| {
        document["lab"]["kernel"] = json!("an older kernel");
        figure(document, "husk.whole")["value"] = json!(1.0);
    });
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("not compared") && said.contains("an older kernel"),
        "{said}"
    );
}
