//! The namespace wall: what it keeps out, for whom it works, and what it leaves behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::husk::{Husk, Said, Wall, said, skip};

/// An ordinary user's ids: nobody's in particular.
const STRANGER: &str = "60123";

fn container() -> Husk {
    Husk::shared().behind(Wall::Container)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// runc, where it is installed: what `--oci-runtime` is compared with.
fn has_runc() -> bool {
    ["/usr/bin/runc", "/usr/sbin/runc"]
        .iter()
        .any(|path| Path::new(path).exists())
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

#[test]
fn an_ordinary_user_has_containers_too() {
    if !is_root() {
        return skip(
            "becoming an ordinary user: the tests are one, and every test above was theirs",
        );
    }
    let husk = container();
    let home = tempfile::tempdir().unwrap();
    let stranger = |setup: &str, script: &str| -> Said {
        let shell = format!(
            "{setup}
            exec setpriv --reuid {STRANGER} --regid {STRANGER} --clear-groups \"$@\" -c '{script}'"
        );
        let mut command = husk.command(&["run", "busybox", "sh"]);
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let program = command.get_program().to_owned();
        command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &shell, "sh"]);
        command
            .arg(program)
            .args(words)
            .env("HUSK_HOME", home.path().join("store"));
        said(command.output().unwrap())
    };
    rustix::fs::chown(
        home.path(),
        Some(rustix::process::Uid::from_raw(60123)),
        None,
    )
    .unwrap();
    let alone = stranger(
        "",
        "id -u; rm -r /etc/group && mkdir /etc/group && ls -ld /etc/group | cut -c1-10",
    );
    assert_eq!(
        (alone.out().as_str(), alone.stderr.as_str()),
        ("0\ndrwxr-xr-x\n", "")
    );
    if !Path::new("/usr/bin/newuidmap").exists() {
        return skip("a user with subordinate ids: newuidmap is not installed");
    }
    let ranges = home.path().join("ranges");
    fs::write(&ranges, format!("{STRANGER}:300000:65536\n")).unwrap();
    // newuidmap knows users by name.
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let passwd = home.path().join("passwd");
    fs::write(
        &passwd,
        format!("{users}stranger:x:{STRANGER}:{STRANGER}::/:/bin/sh\n"),
    )
    .unwrap();
    let setup = format!(
        "for file in /etc/subuid /etc/subgid; do mount --bind {0} $file; done
        mount --bind {1} /etc/passwd; export HUSK_HOME={2}",
        ranges.display(),
        passwd.display(),
        home.path().join("other").display()
    );
    let many = stranger(
        &setup,
        "chown 33:100 /root && stat -c %u:%g /root; cat /proc/self/uid_map | tr -s \" \"",
    );
    assert_eq!(
        (many.out().as_str(), many.stderr.as_str()),
        ("33:100\n 0 60123 1\n 1 300000 65536\n", ""),
        "{}",
        many.status
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
