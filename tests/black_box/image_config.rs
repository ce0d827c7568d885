//! What an image says about itself is honoured: real images, made by buildah and podman.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::husk::{Husk, WALLS, tool};

/// Builds `containerfile` in a folder with Debian's static busybox, saves it as an archive, and keeps
/// that: podman takes minutes in the lab, which sees what was built outside.
pub fn build(containerfile: &str, name: &str, format: &str) -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("built");
    let mut hasher = DefaultHasher::new();
    (containerfile, name, format).hash(&mut hasher);
    let archive = kept.join(format!("{:016x}.tar", hasher.finish()));
    if archive.exists() {
        return archive;
    }
    fs::create_dir_all(&kept).unwrap();
    let folder = tempfile::tempdir_in(&kept).unwrap();
    // Podman takes no longer path than 50 letters for what it forgets at each start.
    let forgotten = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    fs::copy("/bin/busybox", path("busybox")).unwrap();
    fs::write(path("Containerfile"), containerfile).unwrap();
    let storage = [
        "--storage-driver",
        "vfs",
        "--root",
        &path("storage"),
        "--runroot",
        forgotten.path().to_str().unwrap(),
    ];
    let build = [
        "build",
        "-q",
        "--isolation",
        "chroot",
        "--format",
        format.strip_suffix("-archive").unwrap(),
        "-t",
        name,
        folder.path().to_str().unwrap(),
    ];
    tool("podman", &[&storage[..], &build[..]].concat());
    let save = [
        "save",
        "-q",
        "--format",
        format,
        "-o",
        &path("image.tar"),
        name,
    ];
    tool("podman", &[&storage[..], &save[..]].concat());
    tool("podman", &[&storage[..], &["rmi", "-af"][..]].concat());
    fs::rename(path("image.tar"), &archive).unwrap();
    archive
}

const CONTAINERFILE: &str = r#"
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir -p /etc /data && echo 'app:x:1000:1000::/home/app:/bin/sh' > /etc/passwd \
 && printf 'app:x:1000:\nextra:x:2000:other,app\n' > /etc/group && echo seed > /data/seed
RUN echo one > /gone && echo two > /kept
RUN rm /gone && chmod 4755 /bin/busybox
ENV GREETING="hello there" PATH=/bin
LABEL org.example.purpose=test
WORKDIR /srv/dir
USER app
VOLUME /data
STOPSIGNAL SIGUSR1
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["id -u; id -G; pwd; echo $GREETING; echo $HOME; ls /gone 2>&1; cat /kept /data/seed; stat -c %a /bin/busybox"]
"#;

#[test]
fn every_instruction_of_the_image_counts() {
    for format in ["docker-archive", "oci-archive"] {
        let archive = build(CONTAINERFILE, "localhost/config-test:1", format);
        let mut husk = Husk::fresh();
        let loaded = husk.say(&["load", "-i", archive.to_str().unwrap()]);
        assert_eq!(loaded.status, 0, "{}", loaded.stderr);
        let expected = "1000\n1000 2000\n/srv/dir\nhello there\n/home/app\n\
            ls: /gone: No such file or directory\ntwo\nseed\n4755\n";
        for wall in WALLS {
            husk = husk.behind(wall);
            let said = husk.say(&["run", "config-test:1"]);
            assert_eq!(
                (said.out().as_str(), said.stderr.as_str(), said.status),
                (expected, "", 0),
                "{wall:?}"
            );
        }
        let inspected = husk.say(&["inspect", "config-test:1"]);
        let value: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
        let config = &value[0]["Config"];
        assert_eq!(config["User"], "app");
        assert_eq!(config["WorkingDir"], "/srv/dir");
        assert_eq!(config["StopSignal"], "SIGUSR1");
        assert_eq!(config["Entrypoint"][0], "/bin/sh");
        assert_eq!(config["Labels"]["org.example.purpose"], "test");
        assert!(config["Volumes"]["/data"].is_object());
    }
}

#[test]
fn an_archive_runs_without_a_load() {
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs/busybox/busybox.tar");
    let said = Husk::fresh().say(&["run", &format!("oci-archive:{archive}"), "echo", "direct"]);
    assert_eq!(
        (said.status, said.out().as_str()),
        (0, "direct\n"),
        "{}",
        said.stderr
    );
}

#[test]
fn read_only_roots_keep_volumes_writable() {
    let archive = build(CONTAINERFILE, "localhost/volume-test:1", "docker-archive");
    let archive = format!("docker-archive:{}", archive.display());
    let script =
        "cat /data/seed; echo new > /data/new && cat /data/new; echo no > /srv/no || echo refused";
    for wall in WALLS {
        let husk = Husk::fresh().behind(wall);
        let mut command = husk.command(&["run", "-u", "0", "--read-only", &archive, script]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let out = String::from_utf8_lossy(&output.stdout);
        assert_eq!(out, "seed\nnew\nrefused\n", "{wall:?}: {said}");
    }
}
