//! What a run makes the host's kernel do, as far as husk counts it.

use std::fs;
use std::time::Duration;

use husk::sys::{ioctls, trace};

use crate::husk::Husk;

#[test]
fn exits_are_counted_when_asked_for_and_each_is_an_entry_of_the_machine() {
    let json = tempfile::NamedTempFile::new().unwrap();
    let to_json = format!("--json={}", json.path().display());
    let args = ["run", &to_json, "--count-exits", "busybox", "true"];
    let traced = trace::trace(Husk::shared().command(&args), Duration::from_secs(300)).unwrap();
    assert!(traced.status.success());
    let said: serde_json::Value = serde_json::from_slice(&fs::read(json.path()).unwrap()).unwrap();
    let exits = said["exits"].as_object().unwrap();
    let seen: u64 = exits
        .iter()
        .filter(|(name, _)| name.starts_with("userspace_"))
        .filter_map(|(_, count)| count.as_u64())
        .sum();
    let machine = traced
        .programs
        .iter()
        .find(|program| program.arg0 == "husk-machine");
    let ioctls = &machine.unwrap().counts.ioctls;
    let mut entered = ioctls
        .iter()
        .filter(|(request, _)| ioctls::name(**request) == "KVM_RUN");
    let (_, entries) = entered.next().unwrap();
    // Every exit that was counted is an entry that was seen. There are some more entries: two measure
    // the kind of KVM, and the guest runs on between the counting and its end.
    let agreed = seen..=seen + seen / 4;
    assert!(agreed.contains(entries), "{entries} of {seen}");
    assert!(
        exits["userspace_mmio_write"].as_u64() > Some(10),
        "{exits:?}"
    );
    assert!(traced.programs.iter().all(|program| !program.contained));
}

#[test]
fn exits_are_not_counted_unless_asked_for() {
    let said = Husk::shared()
        .command(&["run", "--json", "busybox", "true"])
        .output()
        .unwrap();
    let text = String::from_utf8(said.stderr).unwrap();
    let said: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(
        said.get("phases_ms").is_some() && said.get("exits").is_none(),
        "{said}"
    );
}
