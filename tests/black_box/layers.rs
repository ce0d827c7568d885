//! Real images, made by real tools: what a workload sees is what `umoci unpack` makes of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::husk::{Husk, WALLS, Wall, kvm_is_hardware, said, skip, tool};

/// Where `rootfs/debian/build.sh` has put its images.
pub fn images() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
        let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs/debian/build.sh");
        tool(recipe, &[folder.to_str().unwrap()]);
        folder
    })
}

/// Lines of `listing.py`, by path.
fn by_path(listing: &[u8]) -> BTreeMap<String, serde_json::Value> {
    let lines = listing
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            (value["path"].as_str().unwrap().to_owned(), value)
        })
        .collect()
}

/// What the recipe's own layers have; Debian's part is thousands of files more of the same.
const BELOW: [&str; 10] = [
    "t",
    "opaque",
    "deep",
    "build",
    "char-gnu",
    "block-gnu",
    "char-pax",
    "block-pax",
    "sparse-gnu",
    "sparse-pax",
];

#[test]
fn every_entry_is_what_umoci_makes_of_it() {
    let layout = images().join("entries");
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let from = format!("{}:latest", layout.display());
    tool(
        "umoci",
        &["unpack", "--image", &from, bundle.to_str().unwrap()],
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/black_box/listing.py");
    let root = bundle.join("rootfs");
    let listed = tool(
        "python3",
        &[&[script, root.to_str().unwrap()][..], &BELOW].concat(),
    );
    let expected = by_path(listed.as_bytes());
    assert!(expected.len() > 500, "{} entries", expected.len());
    let image = format!("oci:{}", layout.display());
    let run = ["run", "-i", &image, "python3", "-", "/"];
    for wall in WALLS {
        // A store of its own: one that the lab sees by 9p has no capabilities of files.
        let husk = Husk::fresh().behind(wall);
        let said = husk.feed(&[&run[..], &BELOW].concat(), &fs::read(script).unwrap());
        assert_eq!((said.status, said.stderr.as_str()), (0, ""));
        let found = by_path(&said.stdout);
        for (path, entry) in &expected {
            assert_eq!(found.get(path), Some(entry), "{:?}: {path:?}", husk.wall());
        }
        assert_eq!(found.len(), expected.len());
    }
}

#[test]
fn a_debian_image_runs_python() {
    let archive = images().join("python3.tar");
    let mut husk = Husk::fresh();
    let loaded = husk.say(&["load", "-i", archive.to_str().unwrap()]);
    assert_eq!(loaded.status, 0, "{}", loaded.stderr);
    assert_eq!(loaded.out(), "Loaded image: localhost/python3:1\n");
    for wall in WALLS {
        if wall == Wall::Vm && !kvm_is_hardware() {
            skip(
                "python3 in a machine: another test here runs it, and takes minutes on a software KVM",
            );
            continue;
        }
        husk = husk.behind(wall);
        let said = husk.say(&["run", "python3:1", "python3", "-c", "print(6*7)"]);
        assert_eq!(
            (said.out().as_str(), said.stderr.as_str(), said.status),
            ("42\n", "", 0),
            "{wall:?}"
        );
    }
}

#[test]
fn the_disk_of_an_image_is_sound_and_the_same_every_time() {
    let image = format!("oci:{}", images().join("entries").display());
    let mut disks = Vec::new();
    for _ in 0..2 {
        let husk = Husk::fresh();
        // Nobody needs to boot for a disk to be made.
        let ended = husk.say(&["run", "--boot-timeout", "1ms", &image, "true"]);
        assert_eq!(ended.status, 125);
        let metadata = only_file(&husk.home().join("disks"));
        let bytes = fs::read(&metadata).unwrap();
        let checked = std::process::Command::new("dump.erofs")
            .arg(&metadata)
            .output()
            .unwrap();
        assert_eq!(said(checked).status, 0);
        disks.push(bytes);
    }
    assert!(disks[0] == disks[1], "the same layers give the same bytes");
}

fn only_file(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let file = files.next().unwrap();
    assert_eq!(files.next(), None);
    file
}
