//! Bad input gets one clear line, exit 125, and leaves nothing in the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::husk::{Husk, said, tool};

/// The embedded image as a layout directory, to be spoilt.
struct Layout {
    folder: TempDir,
}

impl Layout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs/busybox/busybox.tar");
        tool(
            "tar",
            &["-xf", archive, "-C", folder.path().to_str().unwrap()],
        );
        Self { folder }
    }

    fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// The blob whose bytes contain `words`; the layer, compressed, is the largest one.
    fn blob(&self, words: &str) -> PathBuf {
        let blobs = fs::read_dir(self.folder.path().join("blobs/sha256")).unwrap();
        let mut blobs: Vec<PathBuf> = blobs.map(|entry| entry.unwrap().path()).collect();
        blobs.sort_by_key(|path| fs::metadata(path).unwrap().len());
        if words.is_empty() {
            return blobs.pop().unwrap();
        }
        let holds = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|t| t.contains(words));
        blobs.into_iter().find(holds).unwrap()
    }

    /// Replaces text in the blob that holds it, and the digest and size of that blob wherever they
    /// are named, up to the index: a well-formed image that says something else.
    fn rewrite(&self, from: &str, to: &str) {
        let old = self.blob(from);
        let text = fs::read_to_string(&old).unwrap().replace(from, to);
        fs::remove_file(&old).unwrap();
        let staged = self.folder.path().join("staged");
        fs::write(&staged, &text).unwrap();
        let digest = sha256(&staged);
        fs::rename(&staged, old.with_file_name(&digest)).unwrap();
        let old_digest = old.file_name().unwrap().to_str().unwrap().to_owned();
        let shrunk = |s: &str| s.replace(&old_digest, &digest);
        let index = self.folder.path().join("index.json");
        let index_text = fs::read_to_string(&index).unwrap();
        let resized = |s: &str| resize(&shrunk(s), &digest, text.len());
        if index_text.contains(&old_digest) {
            fs::write(&index, resized(&index_text)).unwrap();
        } else {
            let manifest = fs::read_to_string(self.blob(&old_digest)).unwrap();
            self.rewrite(&manifest, &resized(&manifest));
        }
    }
}

/// Sets the size that follows `digest` in a descriptor.
fn resize(text: &str, digest: &str, size: usize) -> String {
    let mark = format!("{digest}\",\"size\":");
    let at = text.find(&mark).unwrap() + mark.len();
    let end = at + text[at..].find(|c: char| !c.is_ascii_digit()).unwrap();
    format!("{}{size}{}", &text[..at], &text[end..])
}

fn sha256(path: &Path) -> String {
    tool("sha256sum", &[path.to_str().unwrap()])
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

/// Loads what is bad: one clear line, and a store without images or leftovers.
fn refuses(source: &str, words: &[&str]) {
    let husk = Husk::fresh();
    husk.say(&["load", "-i", source]).is_one_clear_line(words);
    assert_eq!(husk.say(&["images", "--json"]).out().trim(), "[]");
    for folder in ["tmp", "layers", "images", "refs"] {
        let left = fs::read_dir(husk.home().join(folder));
        assert_eq!(
            left.map_or(0, Iterator::count),
            0,
            "{folder} is not empty: {words:?}"
        );
    }
}

#[test]
fn archives_that_are_no_images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noise.tar");
    fs::write(&path, [7; 5000]).unwrap();
    refuses(path.to_str().unwrap(), &["noise.tar"]);
    refuses(
        "/no/such/archive.tar",
        &["/no/such/archive.tar", "No such file"],
    );
    refuses(
        folder.path().to_str().unwrap(),
        &[folder.path().to_str().unwrap()],
    );
}

#[test]
fn a_truncated_archive() {
    let bytes = fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/rootfs/busybox/busybox.tar"
    ))
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.tar");
    for keep in [bytes.len() / 2, 700, 3000] {
        fs::write(&path, &bytes[..keep]).unwrap();
        refuses(path.to_str().unwrap(), &["cut.tar"]);
    }
}

#[test]
fn a_layer_that_is_missing_or_not_itself() {
    let missing = Layout::new();
    let layer = missing.blob("");
    let name = layer.file_name().unwrap().to_str().unwrap()[..12].to_owned();
    fs::remove_file(&layer).unwrap();
    refuses(missing.path(), &[&name]);
    let changed = Layout::new();
    let layer = changed.blob("");
    let mut bytes = fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&layer, bytes).unwrap();
    refuses(changed.path(), &[&name]);
}

#[test]
fn manifests_that_say_what_husk_does_not_know() {
    let table = [
        (
            "image.layer.v1.tar+zstd",
            "image.layer.v9.tar+lz5",
            "image.layer.v9.tar+lz5",
        ),
        (
            "\"architecture\":\"amd64\"",
            "\"architecture\":\"riscv64\"",
            "riscv64",
        ),
    ];
    for (from, to, word) in table {
        let layout = Layout::new();
        layout.rewrite(from, to);
        refuses(layout.path(), &[word]);
    }
}

#[test]
fn a_bomb_stops_at_the_limits() {
    let layout = Layout::new();
    let husk = Husk::fresh();
    for (flag, value) in [("--max-size", "1m"), ("--max-entries", "10")] {
        let said = husk.say(&["load", flag, value, "-i", layout.path()]);
        said.is_one_clear_line(&[flag]);
    }
}

#[test]
fn requests_that_make_no_sense() {
    let husk = Husk::shared();
    let table: [(&[&str], &[&str]); 9] = [
        (&["run", "no-such-image"], &["no-such-image", "husk load"]),
        (&["run", "Not/A/Name!"], &["Not/A/Name!"]),
        (&["run", "-m", "much", "busybox"], &["`much`", "256m"]),
        (&["run", "-m", "1m", "busybox"], &["memory"]),
        (&["run", "--cpus", "100000", "busybox"], &["100000"]),
        (
            &["run", "--kernel", "/etc/passwd", "busybox"],
            &["/etc/passwd", "kernel"],
        ),
        (
            &["run", "--kernel", "/no/kernel", "busybox"],
            &["/no/kernel"],
        ),
        (&["run", "--env-file", "/no/file", "busybox"], &["/no/file"]),
        (&["load", "-i", "oci:/no/layout"], &["/no/layout"]),
    ];
    for (args, words) in table {
        husk.say(args).is_one_clear_line(words);
    }
}

#[test]
fn requests_that_the_guest_refuses() {
    let husk = Husk::shared();
    let table: [(&[&str], &[&str]); 3] = [
        (&["-u", "nobody-here"], &["nobody-here", "/etc/passwd"]),
        (
            &["-w", "/etc/passwd/below"],
            &["/etc/passwd/below", "directory"],
        ),
        (&["--tmpfs", "/x:size=a,nonsense"], &["/x"]),
    ];
    for (flags, words) in table {
        let args = [&["run"], flags, &["busybox", "true"]].concat();
        husk.say(&args).is_one_clear_line(words);
    }
}

#[test]
fn a_store_from_a_newer_husk() {
    let husk = Husk::fresh();
    assert_eq!(husk.say(&["images"]).status, 0);
    fs::write(husk.home().join("version"), "999\n").unwrap();
    husk.say(&["images"]).is_one_clear_line(&["999", "newer"]);
}

#[test]
fn a_guest_kernel_that_panics_is_quoted() {
    // A root disk without an init: what a broken kernel and a broken disk have in common.
    let args = ["run", "--kernel-arg", "init=/nowhere", "busybox", "true"];
    let said = Husk::shared().say(&args);
    assert_eq!(said.status, 125);
    assert!(
        said.stderr.contains("the guest kernel panicked"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("nowhere"), "{}", said.stderr);
}

#[test]
fn a_guest_that_never_reports_meets_the_deadline() {
    let said = Husk::shared().say(&["run", "--boot-timeout", "200ms", "busybox", "true"]);
    assert_eq!(said.status, 125);
    assert!(said.stderr.contains("--boot-timeout"), "{}", said.stderr);
}

#[test]
fn a_full_disk_leaves_nothing_half_done() {
    // A file system of 300 KiB, where this user may mount one.
    let folder = tempfile::tempdir().unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=300k none {0} && HUSK_HOME={0}/store exec {1} load -i {2}",
        folder.path().display(),
        env!("CARGO_BIN_EXE_husk"),
        concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs/busybox/busybox.tar"),
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &mount])
        .output()
        .unwrap();
    said(output).is_one_clear_line(&["No space left"]);
}

/// Runs an image where `/dev` has been changed by `script`, in a mount namespace of its own, by a
/// root that permission bits hold for.
fn run_where(script: &str) -> crate::husk::Said {
    let script = format!(
        "{script} && exec setpriv --bounding-set -dac_override,-dac_read_search {} run busybox true",
        env!("CARGO_BIN_EXE_husk"),
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", &script])
        .env("HUSK_HOME", Husk::shared().home());
    said(command.output().unwrap())
}

#[test]
fn a_host_without_kvm_and_one_that_does_not_give_it() {
    run_where("mount -t tmpfs none /dev").is_one_clear_line(&["no /dev/kvm", "modprobe"]);
    let closed = "mount -t tmpfs none /dev && mknod -m 600 /dev/kvm c 10 232 && chown 1 /dev/kvm";
    run_where(closed).is_one_clear_line(&["no permission on /dev/kvm", "usermod"]);
}
