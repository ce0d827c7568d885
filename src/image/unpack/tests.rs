//! Trees that mean harm, or only what is rare.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::{getxattr, lgetxattr};
use rustix::process::{getegid, geteuid};

use super::*;
use crate::image::directory::remove;
use crate::image::tree::{Entry, LayerTree, Node};

const CONTENT: &[u8] = b"content";

fn entry(path: impl Into<Vec<u8>>, mode: u16, node: Node) -> Entry {
    Entry {
        path: path.into(),
        node,
        meta: Meta {
            mode,
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            mtime: 1_600_000_000,
            mtime_nsec: 5,
            xattrs: Vec::new(),
        },
    }
}

fn file(path: impl Into<Vec<u8>>, mode: u16) -> Entry {
    let size = CONTENT.len() as u64;
    entry(path, mode, Node::File { size, offset: 4096 })
}

fn directory(path: impl Into<Vec<u8>>, mode: u16) -> Entry {
    entry(path, mode, Node::Directory)
}

fn link(path: &str, to: &str) -> Entry {
    entry(path, 0o777, Node::Symlink(to.into()))
}

/// A host's directory with a tree in it.
struct Written {
    folder: tempfile::TempDir,
    outcome: Result<Shortfall, Failure>,
}

impl Written {
    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join("made").join(ROOT).join(below)
    }

    fn stat(&self, below: &str) -> fs::Metadata {
        fs::symlink_metadata(self.path(below)).unwrap()
    }

    fn mode(&self, below: &str) -> u32 {
        self.stat(below).mode() & 0o7777
    }

    fn shortfall(&self) -> &Shortfall {
        self.outcome.as_ref().unwrap()
    }

    fn is_whole(&self) {
        assert_eq!(self.shortfall(), &Shortfall::default());
        let made = fs::read_dir(self.folder.path().join("made")).unwrap();
        assert_eq!(made.count(), 1, "nothing stays but the tree");
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = remove(&self.folder.path().join("made"));
    }
}

fn unpack(layers: Vec<Vec<Entry>>) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let mut tree = Tree::default();
    let mut blobs = Vec::new();
    for (number, entries) in layers.into_iter().enumerate() {
        let layer = LayerTree {
            entries,
            blob_len: 8192,
        };
        tree.apply(layer, number + 1).unwrap();
        let blob = folder.path().join(number.to_string());
        fs::write(&blob, [&[0; 4096], CONTENT, &[0; 4096 - 7]].concat()).unwrap();
        blobs.push(blob);
    }
    let made = folder.path().join("made");
    fs::create_dir(&made).unwrap();
    let outcome = write(&tree, &blobs, &made);
    Written { folder, outcome }
}

/// Says why a test is not made here.
fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root's rights over files");
    }
    root
}

#[test]
fn every_kind_of_file_is_made() {
    let layer = vec![
        directory("", 0o711),
        file("d/file", 0o640),
        entry("empty", 0o600, Node::File { size: 0, offset: 0 }),
        entry("pipe", 0o622, Node::Fifo),
        link("link", "some/where"),
        entry("again", 0, Node::Link(b"d/file".to_vec())),
        entry("link-again", 0, Node::Link(b"link".to_vec())),
        entry("pipe-again", 0, Node::Link(b"pipe".to_vec())),
    ];
    let written = unpack(vec![layer]);
    written.is_whole();
    assert_eq!(written.mode(""), 0o711);
    assert_eq!(fs::read(written.path("d/file")).unwrap(), CONTENT);
    assert_eq!(written.stat("empty").len(), 0);
    assert!(written.stat("pipe").file_type().is_fifo());
    assert_eq!(written.mode("pipe"), 0o622);
    let target = fs::read_link(written.path("link")).unwrap();
    assert_eq!(target, Path::new("some/where"));
    for (one, other) in [
        ("d/file", "again"),
        ("link", "link-again"),
        ("pipe", "pipe-again"),
    ] {
        assert_eq!(written.stat(one).ino(), written.stat(other).ino());
        assert_eq!(written.stat(one).nlink(), 2);
    }
    for name in ["", "d/file", "link", "pipe"] {
        let found = written.stat(name);
        assert_eq!((found.mtime(), found.mtime_nsec()), (1_600_000_000, 5));
    }
    // What no layer describes has no time either; but it has the permissions of a usual directory.
    assert_eq!((written.mode("d"), written.stat("d").mtime()), (0o755, 0));
}

#[test]
fn links_of_a_lower_layer_stay_inside() {
    let outside = tempfile::tempdir().unwrap();
    let lower = vec![
        link("abs", outside.path().to_str().unwrap()),
        link("up", "../../../.."),
        link("root", "/"),
    ];
    let upper = vec![
        file("abs/one", 0o644),
        file("up/two", 0o644),
        file("root/three", 0o644),
    ];
    let written = unpack(vec![lower, upper]);
    written.is_whole();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let inside = outside.path().strip_prefix("/").unwrap().join("one");
    for name in [inside.to_str().unwrap(), "two", "three"] {
        assert_eq!(fs::read(written.path(name)).unwrap(), CONTENT, "{name}");
    }
}

#[test]
fn a_tree_may_be_as_deep_as_paths_go() {
    // Half of what a path can say: two layers of which the second continues behind a link.
    let half = ["d"; 1023].join("/");
    let lower = vec![directory(half.as_str(), 0o755), link("deep", &half)];
    let upper = vec![file(format!("deep/{half}/file"), 0o600)];
    let written = unpack(vec![lower, upper]);
    written.is_whole();
    let mut here = Directory::open(&written.path("")).unwrap();
    for _ in 0..2 * 1023 {
        here.enter(b"d").unwrap();
    }
    assert!(statat(&here, "file", AtFlags::SYMLINK_NOFOLLOW).is_ok());
}

#[test]
fn names_are_any_bytes() {
    let long = vec![b'n'; 255];
    let names: [&[u8]; 5] = [b"\xff\xfe", b"new\nline", b"-rf", b" ", &long];
    let written = unpack(vec![names.iter().map(|name| file(*name, 0o644)).collect()]);
    written.is_whole();
    let mut found: Vec<_> = fs::read_dir(written.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
        .collect();
    found.sort();
    let mut expected = names.map(<[u8]>::to_vec);
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn special_bits_and_closed_directories_stay() {
    let layer = vec![
        file("set-uid", 0o4755),
        file("set-gid", 0o2755),
        directory("sticky", 0o1777),
        directory("group", 0o2775),
        file("group/file", 0o644),
        directory("closed", 0),
        file("closed/file", 0),
    ];
    let written = unpack(vec![layer]);
    written.is_whole();
    for (name, mode) in [
        ("set-uid", 0o4755),
        ("set-gid", 0o2755),
        ("sticky", 0o1777),
        ("group", 0o2775),
        ("closed", 0),
    ] {
        assert_eq!(written.mode(name), mode, "{name}");
    }
}

#[test]
fn times_are_any_and_what_cannot_be_said_is() {
    let mut old = file("old", 0o644);
    (old.meta.mtime, old.meta.mtime_nsec) = (-1_000_000_000, 999_999_999);
    let mut far = link("far", "x");
    far.meta.mtime = i64::MAX;
    let written = unpack(vec![vec![old, far]]);
    let found = written.stat("old");
    assert_eq!(
        (found.mtime(), found.mtime_nsec()),
        (-1_000_000_000, 999_999_999)
    );
    let lacking = written.shortfall().of(Lack::Time).unwrap();
    assert_eq!((lacking.count, lacking.first.as_str()), (1, "/far"));
}

#[test]
fn owners_and_attributes_survive_one_another() {
    if !is_root() {
        return;
    }
    // cap_net_raw+ep, VFS_CAP_REVISION_2.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let mut ping = file("ping", 0o4555);
    (ping.meta.uid, ping.meta.gid) = (70_000, 7);
    ping.meta.xattrs = vec![(b"security.capability".to_vec(), capability.to_vec())];
    let mut named = link("link", "x");
    (named.meta.uid, named.meta.gid) = (5, 6);
    named.meta.xattrs = vec![(b"trusted.mark".to_vec(), b"of a link".to_vec())];
    let device = Device {
        major: 8,
        minor: 70_000,
    };
    let mut disk = entry("disk", 0o660, Node::BlockDevice(device));
    disk.meta.gid = 6;
    let written = unpack(vec![vec![ping, named, disk]]);
    written.is_whole();
    let found = written.stat("ping");
    assert_eq!((found.uid(), found.gid()), (70_000, 7));
    assert_eq!(written.mode("ping"), 0o4555);
    let mut value = [0; 64];
    let len = getxattr(written.path("ping"), "security.capability", &mut value).unwrap();
    assert_eq!(value[..len], capability);
    let len = lgetxattr(written.path("link"), "trusted.mark", &mut value).unwrap();
    assert_eq!(&value[..len], b"of a link");
    assert_eq!(written.stat("link").uid(), 5);
    let found = written.stat("disk");
    assert_eq!((found.rdev(), found.gid()), (makedev(8, 70_000), 6));
}

#[test]
fn what_may_not_be_is_counted() {
    let mut marked = link("link", "x");
    marked.meta.xattrs = vec![(b"user.mark".to_vec(), b"links have none".to_vec())];
    let mut nobody = file("nobody", 0o6755);
    nobody.meta.uid = u32::MAX;
    let mut again = nobody.clone();
    again.path = b"another".to_vec();
    let written = unpack(vec![vec![marked, nobody, again]]);
    let shortfall = written.shortfall();
    let lacking = shortfall.of(Lack::Attribute).unwrap();
    assert_eq!((lacking.count, lacking.first.as_str()), (1, "/link"));
    let lacking = shortfall.of(Lack::Owner).unwrap();
    assert_eq!((lacking.count, lacking.first.as_str()), (2, "/another"));
    // For an owner that is none there is no set-uid; its group is kept.
    assert_eq!(written.mode("nobody"), 0o2755);
    let kept = serde_json::to_vec(shortfall).unwrap();
    assert_eq!(
        serde_json::from_slice::<Shortfall>(&kept).unwrap(),
        *shortfall
    );
    let sentences: Vec<_> = shortfall.sentences().collect();
    assert_eq!(sentences.len(), 3);
    assert!(
        sentences[2].starts_with("extended attributes left out: 1, the first of them `/link`"),
        "{sentences:?}"
    );
}

#[test]
fn a_real_failure_names_the_path() {
    let beyond = Node::File {
        size: 10,
        offset: 1 << 20,
    };
    let written = unpack(vec![vec![entry("a/b\n", 0o644, beyond)]]);
    let failure = written.outcome.as_ref().unwrap_err();
    assert_eq!(failure.entry, "/a/b\\n");
    assert_eq!(failure.source.kind(), io::ErrorKind::UnexpectedEof);
}
