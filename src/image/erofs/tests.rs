//! What is written is judged by the field's own tools: fsck.erofs and dump.erofs.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use super::*;
use crate::image::tree::{Entry, LayerTree, Meta, Node};

fn entry(path: impl Into<Vec<u8>>, node: Node) -> Entry {
    Entry {
        path: path.into(),
        node,
        meta: Meta {
            mode: 0o640,
            uid: 70_000,
            gid: 7,
            mtime: 1_600_000_000,
            mtime_nsec: 5,
            xattrs: Vec::new(),
        },
    }
}

/// Everything a layer can have, and directories of every size around a block.
fn sample() -> Tree {
    let device = Device {
        major: 8,
        minor: 300,
    };
    let mut entries = vec![
        entry(
            "file",
            Node::File {
                size: 5000,
                offset: 4096,
            },
        ),
        entry("empty", Node::File { size: 0, offset: 0 }),
        entry("hard", Node::Link(b"file".to_vec())),
        entry("link", Node::Symlink(b"some/where".to_vec())),
        entry("long-link", Node::Symlink(vec![b'x'; 4095])),
        entry("char", Node::CharDevice(device)),
        entry("block", Node::BlockDevice(device)),
        entry("fifo", Node::Fifo),
        entry(b"not-utf8-\xff\xfe".to_vec(), Node::Fifo),
    ];
    let mut marked = entry("xattrs", Node::Directory);
    marked.meta.xattrs = vec![
        (b"security.capability".to_vec(), vec![1; 20]),
        (b"user.big".to_vec(), vec![2; 6000]),
        (b"user.odd".to_vec(), b"abc".to_vec()),
    ];
    entries.push(marked);
    for count in [1, 30, 150, 170, 1000] {
        for name in 0..count {
            entries.push(entry(format!("dir{count}/{name:012}"), Node::Fifo));
        }
    }
    let mut tree = Tree::default();
    tree.apply(
        LayerTree {
            entries,
            blob_len: 16384,
        },
        0,
    )
    .unwrap();
    tree
}

fn disk() -> Vec<u8> {
    let mut disk = write(&sample(), &[16384]).unwrap();
    disk.extend((0..16384u32).map(|n| (n % 251) as u8));
    disk
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: run tests/all once"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {text}");
    text
}

#[test]
fn equal_trees_give_equal_bytes() {
    assert!(disk() == disk());
}

#[test]
fn fsck_finds_no_fault_and_extracts_the_same_tree() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    let out = folder.path().join("out");
    fs::write(&image, disk()).unwrap();
    let image = image.to_str().unwrap();
    let extract = format!("--extract={}", out.display());
    run("fsck.erofs", &[image, &extract]);
    let content = fs::read(out.join("file")).unwrap();
    assert_eq!(content.len(), 5000);
    assert!(
        content
            .iter()
            .zip(4096u32..)
            .all(|(byte, n)| u32::from(*byte) == n % 251)
    );
    assert_eq!(fs::read(out.join("hard")).unwrap(), content);
    assert_eq!(
        fs::read_link(out.join("long-link"))
            .unwrap()
            .as_os_str()
            .len(),
        4095
    );
    for count in [1, 30, 150, 170, 1000] {
        let found = fs::read_dir(out.join(format!("dir{count}")))
            .unwrap()
            .count();
        assert_eq!(found, count);
    }
}

#[test]
fn dump_shows_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    fs::write(&image, disk()).unwrap();
    let shown = run("dump.erofs", &["--path=/file", image.to_str().unwrap()]);
    for words in [
        "Size: 5000",
        "Links: 2",
        "Uid: 70000",
        "Gid: 7",
        "Access: 0640",
    ] {
        assert!(shown.contains(words), "{words} is not in: {shown}");
    }
    let shown = run("dump.erofs", &["--path=/xattrs", image.to_str().unwrap()]);
    assert!(shown.contains("Xattr size: 60"), "{shown}");
}

#[test]
fn the_format_is_in_the_bytes() {
    let image = disk();
    let word = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    assert_eq!(word(SUPERBLOCK), MAGIC);
    assert_eq!(word(SUPERBLOCK + 36) as usize * BLOCK_LEN, image.len());
    let root = usize::from(u16::from_le_bytes(
        image[SUPERBLOCK + 14..][..2].try_into().unwrap(),
    )) * SLOT;
    assert_eq!(
        u16::from_le_bytes(image[root + 4..][..2].try_into().unwrap()),
        S_IFDIR | 0o755
    );
}

#[test]
fn a_disk_beyond_32_bits_is_refused() {
    assert_eq!(write(&Tree::default(), &[u64::MAX / 2]), Err(TooLarge));
}

#[test]
fn no_inline_data_crosses_a_block() {
    let tree = sample();
    let mut layout = Layout {
        tree: &tree,
        placed: vec![Placed::default(); tree.id_bound()],
        order: Vec::new(),
    };
    layout.number(tree.root());
    layout.place().unwrap();
    let mut seen = BTreeMap::new();
    for id in &layout.order {
        let placed = &layout.placed[*id];
        assert_eq!(seen.insert(placed.at, *id), None);
        if placed.inline {
            let end = placed.at + INODE_LEN + placed.xattrs.len() + placed.data_len % BLOCK_LEN;
            assert_eq!(placed.at / BLOCK_LEN, (end - 1) / BLOCK_LEN);
        }
    }
}
