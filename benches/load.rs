//! `cargo bench --bench load [-- ROUNDS]`: `husk load` beside `podman load`, the same archive, turn
//! by turn, and the memory that husk takes at most.
//!
//! The image is 300 MB of what images are made of, executables and text of this machine, in one
//! layer; once gzip-compressed, once zstd-compressed. Needs podman and skopeo; run as root.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Rounds unless said otherwise.
const ROUNDS: usize = 3;

/// Bytes of content.
const SIZE: u64 = 300 << 20;

fn main() {
    let asked = std::env::args().filter_map(|word| word.parse().ok()).next();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let plain = folder.path().join("plain");
    make_image(folder.path(), &plain);
    for format in ["gzip", "zstd"] {
        let archive = folder.path().join(format!("{format}.tar"));
        compress(&plain, &archive, format);
        let (mut husk, mut podman) = (Vec::new(), Vec::new());
        for _ in 0..asked.unwrap_or(ROUNDS) {
            let (time, peak) = load_by_husk(folder.path(), &archive);
            println!(
                "{format}: husk {:.2} s, {} MiB at most",
                time.as_secs_f64(),
                peak >> 10
            );
            husk.push(time);
            let time = load_by_podman(folder.path(), &archive);
            println!("{format}: podman {:.2} s", time.as_secs_f64());
            podman.push(time);
        }
        let ratio = median(husk).as_secs_f64() / median(podman).as_secs_f64();
        println!("{format}: husk takes {ratio:.2} of podman's time");
    }
}

/// An OCI layout with one uncompressed layer.
fn make_image(folder: &Path, layout: &Path) {
    let root = folder.join("root");
    fs::create_dir(&root).expect("an empty directory");
    let script = "cd / && find usr/bin usr/lib usr/share -xdev -type f -size -8M -printf '%s %p\\n' | \
         LC_ALL=C sort -k2 | awk -v left=$2 '{ left -= $1; if (left < 0) exit; \
         sub(/^[0-9]+ /, \"\"); print }' | cpio -pdm --quiet $1";
    let size = SIZE.to_string();
    tool("sh", &["-c", script, "sh", text(&root), &size]);
    tool("umoci", &["init", "--layout", text(layout)]);
    let tagged = format!("{}:latest", layout.display());
    tool("umoci", &["new", "--image", &tagged]);
    // umoci's own `insert` writes a tar without an end of trees like this one.
    let layer = folder.join("layer.tar");
    tool("tar", &["-cf", text(&layer), "-C", text(&root), "."]);
    let add = ["raw", "add-layer", "--image", &tagged, text(&layer)];
    tool("umoci", &add);
    fs::remove_dir_all(root).expect("the content is in the image");
}

fn compress(layout: &Path, archive: &Path, format: &str) {
    let from = format!("oci:{}:latest", layout.display());
    let to = format!("oci-archive:{}:localhost/bench:1", archive.display());
    tool(
        "skopeo",
        &["copy", "-q", "--dest-compress-format", format, &from, &to],
    );
}

/// Wall time, and peak resident memory in KiB.
fn load_by_husk(folder: &Path, archive: &Path) -> (Duration, u64) {
    let home = folder.join("husk");
    let begun = Instant::now();
    let output = Command::new("/usr/bin/time")
        .args([
            "-f",
            "%M",
            env!("CARGO_BIN_EXE_husk"),
            "load",
            "-q",
            "-i",
            text(archive),
        ])
        .env("HUSK_HOME", &home)
        .output()
        .expect("time(1) is installed");
    let time = begun.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    fs::remove_dir_all(home).expect("the store is ours");
    (time, stderr.trim().parse().expect("time(1) prints KiB"))
}

fn load_by_podman(folder: &Path, archive: &Path) -> Duration {
    let (root, run) = (folder.join("podman"), folder.join("podman-run"));
    let storage = [
        "--storage-driver",
        "vfs",
        "--root",
        text(&root),
        "--runroot",
        text(&run),
    ];
    let begun = Instant::now();
    tool(
        "podman",
        &[&storage[..], &["load", "-q", "-i", text(archive)]].concat(),
    );
    let time = begun.elapsed();
    tool("podman", &[&storage[..], &["rmi", "-af"]].concat());
    fs::remove_dir_all(root).expect("the storage is ours");
    time
}

fn tool(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("our paths are text")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
