//! The namespace wall: what it keeps out, for whom it works, and what it leaves behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::husk::{Husk, Said, Wall, said, skip};

/// An ordinary user's ids: nobody's in particular.
const STRANGER: &str = "60123";

fn container() -> Husk {
    Husk::shared().behind(Wall::Container)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn the_wall_is_as_high_as_dockers() {
    let script =
        "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\\t ' ' ';
        mount -t tmpfs none /mnt 2>/dev/null || echo no mount;
        unshare -U true 2>/dev/null || echo no user namespace;
        dmesg >/dev/null 2>&1 || echo no kernel log;
        echo 1 2>/dev/null >/proc/sys/kernel/panic || echo no sysctl;
        mknod /tmp/disk b 7 0 2>/dev/null && cat /tmp/disk 2>/dev/null || echo no disk;
        wc -c < /proc/keys; ls /sys/firmware | wc -l;
        find /sys/fs/cgroup -name 'memory.*limit*' -o -name memory.max |
            while read -r limit; do echo 1 2>/dev/null >$limit && echo $limit; done;
        ls /dev | sort | tr '\\n' ' '";
    let out = container().shell(&[], script);
    let lines: Vec<_> = out.lines().collect();
    let (mask, rest) = lines.split_at(4);
    // CAP_MKNOD, bit 27, only where the host tells devices apart.
    let masks = ["00000000a80425fb", "00000000a00425fb"];
    assert!(
        masks
            .iter()
            .any(|bits| mask[0] == format!("CapEff: {bits}")),
        "{out}"
    );
    assert!(
        masks
            .iter()
            .any(|bits| mask[1] == format!("CapBnd: {bits}")),
        "{out}"
    );
    assert_eq!(mask[2..], ["NoNewPrivs: 1", "Seccomp: 2"]);
    assert_eq!(
        rest,
        [
            "no mount",
            "no user namespace",
            "no kernel log",
            "no sysctl",
            "no disk",
            "0",
            "0",
            "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ",
        ],
        "{out}"
    );
}

/// Runs `script` in a container of an ordinary user's, with a store in `home`, after root's `setup`, which
/// sees mounts of its own.
fn as_stranger(home: &Path, setup: &str, script: &str) -> Said {
    let shell = format!(
        "{setup}
        exec setpriv --reuid {STRANGER} --regid {STRANGER} --clear-groups \"$@\" -c '{script}'"
    );
    let run = container().command(&["run", "busybox", "sh"]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &shell, "sh"]);
    command.arg(run.get_program()).args(run.get_args());
    command.env("HUSK_HOME", home.join("store"));
    said(command.output().unwrap())
}

/// A home that is the stranger's.
fn stranger_home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let stranger = rustix::process::Uid::from_raw(STRANGER.parse().unwrap());
    rustix::fs::chown(home.path(), Some(stranger), None).unwrap();
    home
}

#[test]
fn an_ordinary_user_has_containers_too() {
    if !is_root() {
        return skip("becoming an ordinary user: these tests are run by one");
    }
    let home = stranger_home();
    let script = "id -u; rm -r /etc/group && mkdir /etc/group && ls -ld /etc/group | cut -c1-10";
    let said = as_stranger(home.path(), "", script);
    assert_eq!(
        (said.out().as_str(), said.stderr.as_str()),
        ("0\ndrwxr-xr-x\n", "")
    );
}

#[test]
fn an_ordinary_user_with_subordinate_ids_has_the_images_users() {
    if !is_root() || !Path::new("/usr/bin/newuidmap").exists() {
        return skip("subordinate ids: they take root to be given, and newuidmap to be used");
    }
    let home = stranger_home();
    let path = |name: &str| home.path().join(name).display().to_string();
    fs::write(path("ranges"), format!("{STRANGER}:300000:65536\n")).unwrap();
    // newuidmap knows users by name.
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let stranger = format!("stranger:x:{STRANGER}:{STRANGER}::/:/bin/sh\n");
    fs::write(path("passwd"), users + &stranger).unwrap();
    let setup = format!(
        "for file in /etc/subuid /etc/subgid; do mount --bind {} $file; done
        mount --bind {} /etc/passwd",
        path("ranges"),
        path("passwd")
    );
    let script = "chown 33:100 /root && stat -c %u:%g /root; cat /proc/self/uid_map | tr -s \" \"";
    let said = as_stranger(home.path(), &setup, script);
    assert_eq!(
        (said.out().as_str(), said.stderr.as_str()),
        ("33:100\n 0 60123 1\n 1 300000 65536\n", ""),
        "{}",
        said.status
    );
}

#[test]
fn no_workload_gets_a_hand_on_the_terminal() {
    let husk = container();
    let script = "for fd in 1 2; do test -t $fd && echo a terminal; done; readlink /proc/self/fd/1";
    let inner = husk.command(&["run", "busybox", "sh", "-c", script]);
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let words = [inner.get_program()]
        .into_iter()
        .chain(inner.get_args())
        .map(quoted);
    let line = words.collect::<Vec<_>>().join(" ");
    let mut terminal = Command::new("script");
    terminal
        .args(["-qec", &line, "/dev/null"])
        .env("HUSK_HOME", husk.home());
    let seen = said(terminal.output().unwrap());
    assert!(seen.out().starts_with("pipe:["), "{}", seen.out());
    assert_eq!((seen.status, seen.out().lines().count()), (0, 1));
}
