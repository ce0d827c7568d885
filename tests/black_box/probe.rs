//! husk's own program beside any image, which it needs nothing of.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::husk::{Husk, Said, tool};

/// `suite.probe` of every result; each has a positive value.
fn probes(said: &Said) -> Vec<String> {
    assert_eq!((said.status, said.stderr.as_str()), (0, ""));
    let results = said.out();
    let results = results.lines().map(|line| {
        let result: Value = serde_json::from_str(line).unwrap();
        assert!(result["value"].as_f64().unwrap() > 0.0, "{line}");
        let word = |key: &str| result[key].as_str().unwrap().to_owned();
        format!("{}.{}", word("suite"), word("probe"))
    });
    results.collect()
}

/// An archive of an image FROM scratch: one text file, a user and a command that are not there.
pub fn distroless() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let path = |name: &str| at(name).to_str().unwrap().to_owned();
    fs::create_dir(at("tree")).unwrap();
    fs::write(at("tree/readme"), "no program here\n").unwrap();
    tool(
        "tar",
        &["-cf", &path("layer.tar"), "-C", &path("tree"), "readme"],
    );
    let digest = tool("sha256sum", &[&path("layer.tar")]);
    let digest = digest.split(' ').next().unwrap();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"User": "nobody", "WorkingDir": "/srv", "Entrypoint": ["/gone"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    fs::write(at("config.json"), config.to_string()).unwrap();
    let manifest = json!([
        {"Config": "config.json", "RepoTags": ["distroless:1"], "Layers": ["layer.tar"]},
    ]);
    fs::write(at("manifest.json"), manifest.to_string()).unwrap();
    let archive = path("image.tar");
    let files = ["manifest.json", "config.json", "layer.tar"];
    let words = ["-cf", &archive, "-C", folder.path().to_str().unwrap()];
    tool("tar", &[&words[..], &files].concat());
    (folder, format!("docker-archive:{archive}"))
}

#[test]
fn a_wall_is_measured_beside_an_image_without_anything() {
    let (_folder, image) = distroless();
    let words = ["run", "--read-only", "--probe", &image];
    let budget = ["--suite", "cpu,syscall", "--budget-ms", "10"];
    let said = Husk::fresh().say(&[&words[..], &budget].concat());
    let expected = "cpu.integer cpu.float syscall.getpid syscall.clock_gettime syscall.mmap \
        syscall.page_fault syscall.context_switch syscall.futex syscall.fork_exec";
    assert_eq!(probes(&said).join(" "), expected);
}

#[test]
fn a_wall_is_measured_beside_an_image_that_has_a_command() {
    let words = ["run", "--probe", "busybox", "--suite", "cpu"];
    let said = Husk::shared().say(&words);
    assert_eq!(probes(&said), ["cpu.integer", "cpu.float"]);
}

#[test]
fn what_measures_a_wall_cannot_be_changed_behind_it() {
    let said = Husk::shared().say(&["run", "--probe", "busybox", "--tamper"]);
    assert_eq!(
        (said.status, said.stderr.as_str()),
        (0, ""),
        "{}",
        said.out()
    );
    let refused = said.out();
    let errnos = [
        ("write", 30),
        ("truncate", 30),
        ("chmod", 30),
        ("rename", 16),
        ("unlink", 16),
    ];
    assert_eq!(refused.lines().count(), errnos.len(), "{refused}");
    for (line, (way, errno)) in refused.lines().zip(errnos) {
        // EROFS: the file system is read-only. EBUSY: it is mounted there.
        assert!(line.starts_with(way), "{refused}");
        assert!(line.ends_with(&format!("(os error {errno})")), "{refused}");
    }
}
