//! `husk cp`, `diff`, `export` and `commit`: files in and out of machines. One machine for many questions,
//! because booting is what takes time.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use crate::husk::{Husk, Said, kvm_is_hardware, said, tool};

/// A machine that only waits, and a folder of this host's beside it.
struct Machine {
    husk: Husk,
    folder: TempDir,
}

/// What the machine has, made by its own workload.
const MADE: &str = "
    mkdir -p /data/deep/er /data/empty; cd /data
    echo text > file; echo deeper > deep/file; ln -s file soft; ln -s /etc/passwd out; ln file hard
    printf 'a\\nb' > 'new
line'; mkfifo pipe; mknod device c 1 3
    chown 1234:5678 file deep; chmod 4751 file; chmod 2750 deep; chmod 1777 empty
    dd if=/dev/zero of=sparse bs=1 count=1 seek=3000000 2>/dev/null
    touch -d '2001-02-03 04:05:06' deep/file deep; ln -s nowhere dangling; ln -s /data/deep to-deep
    echo ready > /ready; while :; do sleep 1; done";

impl Machine {
    fn start(flags: &[&str], script: &str) -> Self {
        let husk = Husk::fresh();
        let run = ["run", "-d", "--name", "box"];
        let command = ["busybox", "sh", "-c", script];
        let started = husk.say(&[&run[..], flags, &command].concat());
        assert_eq!((started.status, started.stderr.as_str()), (0, ""));
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { husk, folder };
        if script.contains("/ready") {
            machine.shell("until [ -e /ready ]; do sleep 0.1; done");
        }
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `husk cp`, in the folder.
    fn cp(&self, args: &[&str]) -> Said {
        let mut command = self.husk.command(&[&["cp"], args].concat());
        said(command.current_dir(self.folder.path()).output().unwrap())
    }

    fn copied(&self, args: &[&str]) {
        let said = self.cp(args);
        let quiet = (0, "", String::new());
        assert_eq!(
            (said.status, said.stderr.as_str(), said.out()),
            quiet,
            "{args:?}"
        );
    }

    /// One line with all of `words`, and docker's status.
    fn refused(&self, args: &[&str], words: &[&str]) {
        let said = self.cp(args);
        assert_eq!(said.status, 1, "{args:?}: {}", said.stderr);
        assert_eq!(said.stderr.lines().count(), 1, "{args:?}: {}", said.stderr);
        for word in words {
            assert!(said.stderr.contains(word), "{word}: {}", said.stderr);
        }
    }

    fn shell(&self, script: &str) -> String {
        let said = self.husk.say(&["exec", "box", "sh", "-c", script]);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{script}");
        said.out()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.husk.say(&["rm", "-f", "box"]);
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn files_go_both_ways() {
    let machine = Machine::start(&[], MADE);
    a_folder_comes_out(&machine);
    owners_are_kept_if_asked(&machine);
    where_things_go(&machine);
    archives_are_streams(&machine);
    a_folder_goes_in(&machine);
    wrong_words(&machine);
}

fn a_folder_comes_out(machine: &Machine) {
    let said = machine.cp(&["box:/data", "data"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    assert!(said.stderr.contains("data/device"), "{}", said.stderr);
    let data = machine.at("data");
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "text\n");
    assert_eq!(fs::read_to_string(data.join("new\nline")).unwrap(), "a\nb");
    assert!(!data.join("device").exists());
    let own = rustix::process::geteuid().as_raw();
    let file = fs::metadata(data.join("file")).unwrap();
    assert_eq!((file.uid(), file.nlink()), (own, 2));
    assert_eq!(
        mode(&data.join("file")),
        0o751,
        "no set-id bit for a stranger's file"
    );
    assert_eq!(
        [mode(&data.join("deep")), mode(&data.join("empty"))],
        [0o2750, 0o1777]
    );
    assert_eq!(
        fs::read_link(data.join("out")).unwrap(),
        Path::new("/etc/passwd")
    );
    let time = fs::metadata(data.join("deep")).unwrap().mtime();
    assert_eq!(time, fs::metadata(data.join("deep/file")).unwrap().mtime());
    let sparse = fs::metadata(data.join("sparse")).unwrap();
    assert_eq!(sparse.size(), 3_000_001);
    assert!(
        sparse.blocks() * 512 < 200_000,
        "{} blocks",
        sparse.blocks()
    );
}

fn owners_are_kept_if_asked(machine: &Machine) {
    if !rustix::process::geteuid().is_root() {
        return machine.refused(&["-a", "box:/data/file", "owned"], &["owned"]);
    }
    machine.copied(&["-a", "box:/data/file", "owned"]);
    let file = fs::metadata(machine.at("owned")).unwrap();
    assert_eq!((file.uid(), file.gid()), (1234, 5678));
    assert_eq!(mode(&machine.at("owned")), 0o4751);
    fs::write(machine.at("mine"), "x").unwrap();
    lchown(machine.at("mine"), Some(4321), Some(8765)).unwrap();
    machine.copied(&["mine", "box:/tmp/roots"]);
    machine.copied(&["-a", "mine", "box:/tmp/owned"]);
    let owners = machine.shell("stat -c %u:%g /tmp/roots /tmp/owned");
    assert_eq!(owners, "0:0\n4321:8765\n");
}

/// Docker's table, out of the machine and into it.
fn where_things_go(machine: &Machine) {
    let read = |name: &str| fs::read_to_string(machine.at(name)).unwrap();
    fs::create_dir(machine.at("here")).unwrap();
    fs::write(machine.at("old"), "old").unwrap();
    machine.copied(&["box:data/deep/file", "here"]);
    machine.copied(&["box:/data/deep/file", "old"]);
    machine.copied(&["box:/data/deep/.", "content"]);
    machine.copied(&["box:/data/deep/.", "here"]);
    machine.copied(&["box:/data/deep", "here"]);
    assert_eq!(
        [read("here/file"), read("old"), read("content/file")],
        ["deeper\n"; 3]
    );
    assert_eq!(read("here/deep/file"), "deeper\n");
    machine.copied(&["box:/data/soft", "soft"]);
    machine.copied(&["-L", "box:/data/soft", "followed"]);
    assert_eq!(
        fs::read_link(machine.at("soft")).unwrap(),
        Path::new("file")
    );
    assert_eq!(read("followed"), "text\n");
    machine.copied(&["box:/data/to-deep/", "linked"]);
    assert_eq!(read("linked/file"), "deeper\n");
    machine.refused(&["box:/data/deep", "old"], &["old", "directory"]);
    machine.refused(
        &["box:/data/file", "gone/"],
        &["gone/", "no such directory"],
    );
    machine.refused(&["box:/data/file", "gone/file"], &["gone", "No such file"]);
    fs::create_dir_all(machine.at("up/sub")).unwrap();
    fs::write(machine.at("up/sub/file"), "up").unwrap();
    symlink("sub/file", machine.at("up/link")).unwrap();
    machine.copied(&["up", "box:/tmp"]);
    machine.copied(&["up", "box:/tmp/other"]);
    machine.copied(&["up/.", "box:/tmp/up/sub"]);
    machine.copied(&["-L", "up/link", "box:/tmp/single"]);
    machine.copied(&["up/link", "box:/data/to-deep"]);
    let found =
        machine.shell("cd /tmp; find up other single | sort; readlink /data/deep/link; cat single");
    let expected = "other\nother/link\nother/sub\nother/sub/file\nsingle\nup\nup/link\nup/sub\n\
        up/sub/file\nup/sub/link\nup/sub/sub\nup/sub/sub/file\nsub/file\nup";
    assert_eq!(found, expected);
    machine.refused(
        &["up", "box:/data/file"],
        &["box", "/data/file", "directory"],
    );
    machine.refused(
        &["up/link", "box:/tmp/gone/"],
        &["/tmp/gone/", "no such directory"],
    );
    machine.refused(&["up", "box:/gone/there"], &["/gone", "No such file"]);
}

fn archives_are_streams(machine: &Machine) {
    let archive = machine.cp(&["box:/data/deep", "-"]).stdout;
    fs::write(machine.at("deep.tar"), &archive).unwrap();
    let path = machine.at("deep.tar").display().to_string();
    let listed = tool("tar", &["--numeric-owner", "-tvf", &path]);
    assert!(listed.starts_with("drwxr-s--- 1234/5678"), "{listed}");
    assert!(listed.contains(" deep/file\n"), "{listed}");
    let folder = machine.folder.path().display().to_string();
    for (flags, name) in [("-cf", "in.tar"), ("-czf", "in.tar.gz")] {
        let to = machine.at(name).display().to_string();
        let owner = ["--owner=77", "--group=88", "--numeric-owner"];
        tool(
            "tar",
            &[&["-C", &folder, flags, &to], &owner[..], &["up"]].concat(),
        );
        let into = format!("/tmp/{name}");
        machine.shell(&format!("mkdir {into}"));
        let mut cp = machine.husk.command(&["cp", "-", &format!("box:{into}")]);
        cp.stdin(Stdio::from(File::open(to).unwrap()));
        let said = said(cp.output().unwrap());
        assert_eq!((said.status, said.stderr.as_str()), (0, ""));
        let found = machine.shell(&format!(
            "cat {into}/up/sub/file; stat -c ' %u:%g' {into}/up/link"
        ));
        assert_eq!(found, "up 77:88\n");
    }
    let words = machine
        .husk
        .feed(&["cp", "-", "box:/tmp"], &b"no archive, ".repeat(99));
    assert_eq!(words.status, 1);
    assert!(words.stderr.contains("no archive"), "{}", words.stderr);
    let nowhere = machine.husk.feed(&["cp", "-", "box:/gone"], &archive);
    assert_eq!(nowhere.status, 1);
    assert!(nowhere.stderr.contains("/gone"), "{}", nowhere.stderr);
}

/// What goes in and comes out again is what it was.
fn a_folder_goes_in(machine: &Machine) {
    let many = machine.at("many");
    fs::create_dir_all(many.join("small")).unwrap();
    let count = if kvm_is_hardware() { 10_000 } else { 300 };
    for number in 0..count {
        fs::write(many.join(format!("small/{number}")), number.to_string()).unwrap();
    }
    let large = File::create(many.join("large")).unwrap();
    // More than the machine has memory for, if its bytes were written.
    large
        .set_len(if kvm_is_hardware() {
            256 << 20
        } else {
            1 << 20
        })
        .unwrap();
    large.write_all_at(b"in the middle", 500_000).unwrap();
    fs::hard_link(many.join("small/7"), many.join("seven")).unwrap();
    fs::set_permissions(many.join("small/7"), Permissions::from_mode(0o400)).unwrap();
    machine.copied(&["many", "box:/tmp/many"]);
    machine.copied(&["box:/tmp/many", "back"]);
    let (there, back) = (
        many.display().to_string(),
        machine.at("back").display().to_string(),
    );
    tool("diff", &["-r", &there, &back]);
    assert_eq!(mode(&machine.at("back/seven")), 0o400);
    assert_eq!(fs::metadata(machine.at("back/seven")).unwrap().nlink(), 2);
    let blocks = machine.shell("stat -c '%b' /tmp/many/large");
    assert!(blocks.trim().parse::<u64>().unwrap() < 2000, "{blocks}");
}

fn wrong_words(machine: &Machine) {
    machine.refused(&["box:/gone", "x"], &["box", "/gone", "No such file"]);
    machine.refused(
        &["box:/data/file/x", "x"],
        &["/data/file/x", "Not a directory"],
    );
    machine.refused(&["gone", "box:/tmp"], &["gone", "No such file"]);
    machine.refused(&["nobody:/x", "x"], &["nobody"]);
    machine.refused(&["box:/x", "box:/y"], &["between"]);
    machine.refused(&["./x", "y"], &["MACHINE:PATH"]);
}

#[test]
fn a_read_only_root_and_machines_that_rest_or_end() {
    let flags = ["--read-only", "--tmpfs", "/tmp"];
    let machine = Machine::start(&flags, "while :; do sleep 1; done");
    fs::write(machine.at("file"), "text").unwrap();
    machine.refused(
        &["file", "box:/etc"],
        &["box", "file", "Read-only file system"],
    );
    machine.copied(&["file", "box:/tmp"]);
    machine.copied(&["box:/tmp/file", "back"]);
    assert_eq!(fs::read_to_string(machine.at("back")).unwrap(), "text");
    // The machine ends while it waits for an archive that has no end.
    let mut endless = machine.husk.start(&["cp", "-", "box:/tmp"]);
    let stdin = endless.stdin.take().unwrap();
    sleep(Duration::from_secs(1));
    assert_eq!(machine.husk.say(&["kill", "box"]).status, 0);
    let mut words = String::new();
    endless
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut words)
        .unwrap();
    drop(stdin);
    assert_eq!(endless.wait().unwrap().code(), Some(1));
    assert!(
        words.contains("ended") && words.lines().count() == 1,
        "{words}"
    );
    machine.refused(&["box:/etc/passwd", "x"], &["box", "husk start box"]);
    machine.refused(&["file", "box:/tmp"], &["box", "husk start box"]);
}
