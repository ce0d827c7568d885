//! The host's files and named volumes, behind either wall: what a workload does with them, and what it
//! cannot.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::husk::{Husk, WALLS, Wall, said, tool};

/// A folder to share, `share/`, and what lies beside it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(folder.at("share/dir")).unwrap();
        fs::write(folder.at("share/file"), "from the host\n").unwrap();
        fs::write(folder.at("secret"), "the host's own\n").unwrap();
        symlink("../secret", folder.at("share/up")).unwrap();
        symlink(folder.at("secret"), folder.at("share/absolute")).unwrap();
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `PATH:target`.
    fn mount(&self, name: &str, target: &str) -> String {
        format!("{}:{target}", self.at(name).display())
    }
}

#[test]
fn a_folder_is_read_and_written_and_nothing_beside_it() {
    let script = "
        set -e; cd /data
        cat file; echo from inside > made; chmod 640 made; mkdir -m 700 new; mv made new/made
        ln new/made linked; ln -s linked soft; cat soft; stat -c '%h %a %u:%g' linked
        exec 3<> dir/open; rm dir/open; echo unlinked >&3; cat /proc/self/fd/3
        printf 12345 > cut; truncate -s 3 cut; cat cut; echo; echo more >> cut; cat cut; sync
        cat up absolute 2>&1 | grep -c 'No such file'
        mknod disk b 8 0 2>/dev/null && cat disk 2>/dev/null || echo no disk
        mkfifo pipe; (echo through > pipe &) ; cat pipe; ls -A | wc -l
        grep -c ' /data ' /proc/self/mounts";
    for wall in WALLS {
        let folder = Folder::new();
        let out = Husk::shared()
            .behind(wall)
            .shell(&["-v", &folder.mount("share", "/data")], script);
        let expected =
            "from the host\nfrom inside\n2 640 0:0\nunlinked\n123\n123more\n2\nno disk\nthrough\n";
        assert!(out.starts_with(expected), "{wall:?}: {out}");
        assert!(out.ends_with("1\n"), "{wall:?}: {out}");
        assert_eq!(
            fs::read_to_string(folder.at("share/new/made")).unwrap(),
            "from inside\n"
        );
        let made = fs::metadata(folder.at("share/linked")).unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(
            (made.nlink(), made.uid(), made.mode() & 0o777),
            (2, own, 0o640)
        );
        let target = fs::read_link(folder.at("share/soft")).unwrap();
        assert_eq!(target, PathBuf::from("linked"));
        assert_eq!(
            fs::read_to_string(folder.at("secret")).unwrap(),
            "the host's own\n"
        );
    }
}

#[test]
fn many_mounts_at_once_keep_their_rights_and_their_order() {
    let folder = Folder::new();
    let mut flags: Vec<String> = Vec::new();
    for number in 0..30 {
        let name = format!("many/{number}");
        fs::create_dir_all(folder.at(&name)).unwrap();
        fs::write(folder.at(&name).join("number"), format!("{number}\n")).unwrap();
        flags.extend([
            "-v".to_owned(),
            folder.mount(&name, &format!("/many/{number}")),
        ]);
    }
    flags.extend([
        "--mount".to_owned(),
        format!(
            "type=bind,src={},dst=/etc/one,readonly",
            folder.at("share/file").display()
        ),
        "-v".to_owned(),
        folder.mount("share", "/outer/inner:ro"),
        "--tmpfs".to_owned(),
        "/outer".to_owned(),
        "--mount".to_owned(),
        "type=tmpfs,target=/outer/inner/dir,tmpfs-size=1m".to_owned(),
        "--read-only".to_owned(),
    ]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let script = "
        cat /many/*/number | sort -n | md5sum; for n in /many/*; do echo x > $n/made || echo failed; done
        cat /etc/one; echo no 2>/dev/null > /etc/one || echo one is read-only
        touch /outer/inner/x 2>/dev/null || echo inner is read-only
        touch /outer/inner/dir/x && echo dir is memory; touch /outer/x && echo outer is memory
        mount -o remount,rw /outer/inner 2>/dev/null; touch /outer/inner/x 2>/dev/null || echo still
        touch /x 2>/dev/null || echo root is read-only";
    let sum = tool("sh", &["-c", "seq 0 29 | md5sum"]);
    for husk in Husk::behind_each() {
        let out = husk.shell(&flags, script);
        let rest = "from the host\none is read-only\ninner is read-only\ndir is memory\nouter is memory\nstill\nroot is read-only\n";
        assert_eq!(out, format!("{sum}{rest}"), "{:?}", husk.wall());
        for number in 0..30 {
            fs::remove_file(folder.at(&format!("many/{number}/made"))).unwrap();
        }
        assert!(!folder.at("share/x").exists());
        assert!(!folder.at("share/dir/x").exists());
    }
}

#[test]
fn a_folder_behaves_as_posix_says() {
    for wall in WALLS {
        let folder = Folder::new();
        let husk = Husk::shared().behind(wall);
        let mount = folder.mount("share", "/data");
        let steps = if wall == Wall::Vm { "300" } else { "3000" };
        let words = [
            "run", "--probe", "-v", &mount, "busybox", "--verify", "/data", "11", steps,
        ];
        let said = husk.say(&words);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{wall:?}");
        assert!(!folder.at("share/husk-verify").exists());
    }
}

#[test]
fn what_the_host_changes_is_seen_and_owners_are_as_asked() {
    let folder = Folder::new();
    let mount = folder.mount("share", "/data:uid=1000,gid=1001");
    let script = "stat -c '%u:%g' /data/file; echo ready; read -r word; cat /data/file; ls /data/late; \
        echo mine > /data/mine; stat -c '%u:%g' /data/mine";
    let husk = Husk::shared();
    let flags = [
        "run",
        "-i",
        "-u",
        "1000:1001",
        "-v",
        &mount,
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let mut child = husk.start(&flags);
    let mut head = [0; 16];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut head).unwrap();
    assert_eq!(&head, b"1000:1001\nready\n");
    fs::write(folder.at("share/file"), "changed by the host, and longer\n").unwrap();
    fs::write(folder.at("share/late"), "").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"go\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        out,
        "changed by the host, and longer\n/data/late\n1000:1001\n"
    );
    let mine = fs::metadata(folder.at("share/mine")).unwrap();
    assert_eq!(mine.uid(), rustix::process::geteuid().as_raw());
}

#[test]
fn a_named_volume_is_filled_once_and_stays() {
    for wall in WALLS {
        let husk = Husk::fresh().behind(wall);
        let seeded = husk.shell(
            &["-v", "conf:/etc"],
            "head -1 /etc/passwd; echo kept > /etc/kept",
        );
        assert_eq!(seeded, "root:x:0:0:root:/root:/bin/sh\n", "{wall:?}");
        let data = husk.home().join("volumes/conf/data");
        assert!(data.join("passwd").exists());
        let again = husk.shell(
            &["-v", "conf:/elsewhere"],
            "cat /elsewhere/kept; rm /elsewhere/passwd",
        );
        assert_eq!(again, "kept\n");
        husk.shell(
            &["--mount", "source=conf,target=/etc"],
            "test ! -e /etc/passwd",
        );
        let empty = husk.shell(
            &["-v", "other:/etc:nocopy"],
            "test -e /etc/passwd || echo empty",
        );
        assert_eq!(empty, "empty\n");
        assert_eq!(husk.say(&["volume", "ls", "-q"]).out(), "conf\nother\n");
        let known = husk.say(&["volume", "inspect", "conf"]).out();
        assert!(
            known.contains(&format!("\"Mountpoint\": \"{}\"", data.display())),
            "{known}"
        );
    }
}

#[test]
fn volumes_are_made_listed_and_removed_but_not_in_use() {
    let husk = Husk::fresh().behind(Wall::Container);
    assert_eq!(husk.say(&["volume", "ls"]).out(), "DRIVER    VOLUME NAME\n");
    let made = husk.say(&["volume", "create", "--label", "a=b", "one"]);
    assert_eq!((made.status, made.out().as_str()), (0, "one\n"));
    assert_eq!(husk.say(&["volume", "create"]).out().len(), 65);
    let json = husk.say(&["volume", "ls", "--format", "json"]).out();
    assert!(json.contains("\"Labels\":{\"a\":\"b\"}"), "{json}");
    let script = "echo ready; while :; do sleep 1; done";
    let mut child = husk.start(&["run", "-v", "used:/data", "busybox", "sh", "-c", script]);
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    husk.say(&["volume", "rm", "used"])
        .is_one_clear_line(&["used", "in use"]);
    let asked = husk.feed(&["volume", "prune"], b"n\n");
    assert!(asked.out().contains("  one\n"), "{}", asked.out());
    let pruned = husk.say(&["volume", "prune", "-f"]);
    assert!(pruned.out().contains("one\n"), "{}", pruned.out());
    assert_eq!(husk.say(&["volume", "ls", "-q"]).out(), "used\n");
    child.kill().unwrap();
    child.wait().unwrap();
    // Its container dies with it, and lets go.
    let removed = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        husk.say(&["volume", "rm", "used"]).status == 0
    });
    assert!(removed);
    husk.say(&["volume", "rm", "used"])
        .is_one_clear_line(&["used", "volume ls"]);
    assert_eq!(husk.say(&["volume", "rm", "-f", "used"]).status, 0);
    husk.say(&["volume", "create", "../x"])
        .is_one_clear_line(&["../x"]);
}

#[test]
fn a_wrong_mount_is_one_clear_line() {
    let folder = Folder::new();
    let pipe = folder.at("pipe");
    tool("mkfifo", &[pipe.to_str().unwrap()]);
    let wrong: [(&[&str], &[&str]); 6] = [
        (
            &["-v", "/nowhere/at/all:/data"],
            &["/nowhere/at/all", "create it first"],
        ),
        (
            &["--mount", "type=bind,src=/nowhere,dst=/data"],
            &["/nowhere", "no such file"],
        ),
        (&["-v", "/tmp:data"], &["data", "absolute"]),
        (&["-v", "/tmp:/"], &["root"]),
        (&["-v", "/tmp:/a", "-v", "/var:/a/"], &["/a", "twice"]),
        (&["-v", "a/b:/a"], &["a/b", "./PATH"]),
    ];
    for (flags, words) in wrong {
        for wall in [&[][..], &["--wall", "container"]] {
            let all = [&["run"], wall, flags, &["busybox", "true"]].concat();
            Husk::shared().say(&all).is_one_clear_line(words);
        }
    }
    let unfit = folder.mount("pipe", "/data");
    Husk::shared()
        .say(&["run", "-v", &unfit, "busybox", "true"])
        .is_one_clear_line(&["neither"]);
    let owned = folder.mount("share", "/data:uid=7");
    Husk::shared()
        .behind(Wall::Container)
        .say(&["run", "-v", &owned, "busybox", "true"])
        .is_one_clear_line(&["uid="]);
}

#[test]
fn a_folder_named_from_here_is_that_one_wherever_the_machine_is_started_from() {
    let husk = Husk::fresh().behind(Wall::Container);
    let here = tempfile::tempdir().unwrap();
    fs::create_dir(here.path().join("folder")).unwrap();
    fs::write(here.path().join("folder/file"), "this\n").unwrap();
    let from = |folder: &Path, args: &[&str]| {
        let said = said(husk.command(args).current_dir(folder).output().unwrap());
        assert_eq!((said.status, said.stderr.as_str()), (0, ""));
        said.out()
    };
    let run = [
        "run",
        "-d",
        "--name",
        "near",
        "-v",
        "./folder:/data",
        "busybox",
        "cat",
        "/data/file",
    ];
    from(here.path(), &run);
    assert_eq!(from(Path::new("/"), &["wait", "near"]), "0\n");
    from(Path::new("/"), &["start", "near"]);
    from(Path::new("/"), &["wait", "near"]);
    assert_eq!(husk.say(&["logs", "near"]).out(), "this\nthis\n");
    from(Path::new("/"), &["rm", "near"]);
}
