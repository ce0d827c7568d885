//! The store: verbs, several processes at once, and death at any moment.

use std::fs;
use std::time::Duration;

use crate::husk::{Husk, tool};

const BUSYBOX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs/busybox/busybox.tar");

#[test]
fn load_images_inspect_rmi_prune() {
    let husk = Husk::fresh();
    let loaded = husk.say(&["load", "-i", BUSYBOX]);
    assert_eq!(
        (loaded.status, loaded.out().as_str()),
        (0, "Loaded image: busybox:latest\n")
    );
    let listed: serde_json::Value =
        serde_json::from_slice(&husk.say(&["images", "--json"]).stdout).unwrap();
    assert_eq!(listed[0]["names"][0], "docker.io/library/busybox:latest");
    let inspected: serde_json::Value =
        serde_json::from_slice(&husk.say(&["inspect", "busybox"]).stdout).unwrap();
    assert_eq!(inspected[0]["Config"]["Cmd"][0], "sh");
    assert_eq!(husk.say(&["rmi", "busybox"]).status, 0);
    assert_eq!(husk.say(&["images", "--json"]).out().trim(), "[]");
    assert!(fs::read_dir(husk.home().join("layers")).unwrap().count() > 0);
    assert_eq!(husk.say(&["prune"]).status, 0);
    assert_eq!(fs::read_dir(husk.home().join("layers")).unwrap().count(), 0);
    husk.say(&["rmi", "busybox"])
        .is_one_clear_line(&["busybox"]);
}

#[test]
fn stdin_and_every_transport_give_the_same_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (docker, oci) = (path("docker.tar"), path("layout"));
    let layout = format!("oci:{oci}:latest");
    // Docker's archives know no zstd.
    let gzip = ["copy", "--dest-compress-format", "gzip"];
    let archive = format!("oci-archive:{BUSYBOX}");
    tool("skopeo", &[&gzip[..], &[&archive, &layout]].concat());
    let target = format!("docker-archive:{docker}:busybox:latest");
    tool("skopeo", &["copy", &layout, &target]);
    let diff_ids = |husk: &Husk, name: &str| {
        let said = husk.say(&["inspect", name]);
        assert_eq!(said.status, 0, "{}", said.stderr);
        let value: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        value[0]["RootFS"]["Layers"].to_string()
    };
    let mut seen = Vec::new();
    for source in [BUSYBOX, &docker, &oci] {
        let husk = Husk::fresh();
        let said = husk.say(&["load", "-i", source]);
        assert_eq!(said.status, 0, "{source}: {}", said.stderr);
        let id: serde_json::Value =
            serde_json::from_slice(&husk.say(&["images", "--json"]).stdout).unwrap();
        seen.push(diff_ids(&husk, id[0]["id"].as_str().unwrap()));
    }
    for archive in [BUSYBOX, docker.as_str()] {
        let husk = Husk::fresh();
        let said = husk.feed(&["load", "-i", "-"], &fs::read(archive).unwrap());
        assert_eq!(said.status, 0, "{archive} on stdin: {}", said.stderr);
        seen.push(diff_ids(&husk, "busybox"));
    }
    assert!(seen.iter().all(|layers| *layers == seen[0]), "{seen:?}");
}

#[test]
fn many_at_once_make_one_store() {
    let husk = Husk::fresh();
    let children: Vec<_> = (0..4)
        .map(|_| husk.start(&["load", "-i", BUSYBOX]))
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let listed: serde_json::Value =
        serde_json::from_slice(&husk.say(&["images", "--json"]).stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(fs::read_dir(husk.home().join("layers")).unwrap().count(), 1);
}

#[test]
fn killed_at_any_moment_the_store_is_whole() {
    let husk = Husk::fresh();
    for delay in (0..60).step_by(4) {
        let mut child = husk.start(&["load", "-i", BUSYBOX]);
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        let listed = husk.say(&["images", "--json"]);
        assert_eq!(
            (listed.status, listed.stderr.as_str()),
            (0, ""),
            "killed after {delay} ms"
        );
    }
    assert_eq!(husk.say(&["load", "-i", BUSYBOX]).status, 0);
    assert_eq!(husk.say(&["prune"]).status, 0);
    assert_eq!(fs::read_dir(husk.home().join("tmp")).unwrap().count(), 0);
    assert_eq!(husk.say(&["inspect", "busybox"]).status, 0);
}
