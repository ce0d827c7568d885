//! A layer's archive becomes a blob and a tree. Nothing is ever written to a path that an archive
//! names: contents go into one file, names into another, so there is nowhere to escape to. What a
//! name could later mean is decided by the merge, in memory; what it must not be is refused here.

use std::collections::HashSet;
use std::io::{self, Read};

use super::blob::BlobWriter;
use super::error::{Fault, Refusal};
use super::limits::Limits;
use super::tar::{self, Kind, Reader, Sequential, TarError};
use super::tree::{self, Entry, Meta, Node};

/// Longest path and longest link target, bytes (Linux PATH_MAX without its zero).
const MAX_PATH: usize = 4095;
/// Longest name of a file (NAME_MAX).
const MAX_NAME: usize = 255;
/// Room for a file's extended attributes: what an inode of the disk can count, rounded down.
const MAX_XATTRS: usize = 128 << 10;
/// Longest value of one.
const MAX_XATTR: usize = 65_535;

/// Whiteouts of the OCI image spec, "Layer Filesystem Changeset".
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that AUFS kept for itself: they mean nothing to anybody else.
const AUFS: &[u8] = b".wh..wh.";

/// Attributes by which overlay file systems mark their upper directories: in an image they would
/// speak to the guest's overlay, which is not theirs.
const OVERLAY: &[u8] = b"trusted.overlay.";
/// Name spaces of attributes that a disk can carry (xattr(7)).
const XATTR_SPACES: [&[u8]; 5] = [
    b"user.",
    b"trusted.",
    b"security.",
    b"system.posix_acl_access",
    b"system.posix_acl_default",
];

/// Largest device numbers that Linux has (12 and 20 bits).
const MAX_MAJOR: u32 = (1 << 12) - 1;
const MAX_MINOR: u32 = (1 << 20) - 1;

/// Where a layer goes.
pub struct Sink<'a> {
    /// Its blob.
    pub blob: &'a mut BlobWriter,
    /// Takes each entry, in the archive's order.
    pub entry: &'a mut dyn FnMut(&Entry) -> io::Result<()>,
}

/// What went wrong with a layer, before anybody knows which it was.
#[derive(Debug)]
pub enum Spoilt {
    /// An entry that no layer may have.
    Refused(Refusal),
    /// The archive breaks its format, or cannot be read.
    Archive(TarError),
    /// Anything that is not the layer's own fault.
    Fault(Fault),
}

impl From<Refusal> for Spoilt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<TarError> for Spoilt {
    fn from(error: TarError) -> Self {
        Self::Archive(error)
    }
}

impl From<Fault> for Spoilt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Unpacks a plain tar. `left` is what the image may still take of `limits`.
pub fn unpack(
    archive: impl Read,
    sink: &mut Sink<'_>,
    left: &mut Limits,
    limits: &Limits,
) -> Result<(), Spoilt> {
    let mut reader = Reader::new(Sequential(archive));
    // Where this layer has symbolic links: nothing may be put through them.
    let mut symlinks = HashSet::new();
    while let Some(entry) = reader.next_entry()? {
        left.take_entry(limits)?;
        // Data counts also where it means nothing: what is passed over is unpacked before.
        left.take_bytes(entry.size, limits)?;
        let Some(mut taken) = translate(&entry, &symlinks)? else {
            continue;
        };
        if let Node::File { offset, .. } = &mut taken.node {
            *offset = store(&entry, &mut reader, sink.blob)?;
        }
        note_symlink(&taken, &mut symlinks);
        (sink.entry)(&taken).map_err(Fault::Store)?;
    }
    // What stands behind the end of the archive belongs to the layer's digest.
    let mut behind = reader.into_inner().take(left.max_size.saturating_add(1));
    let passed = io::copy(&mut behind, &mut io::sink()).map_err(TarError::Io)?;
    Ok(left.take_bytes(passed, limits)?)
}

fn store(entry: &tar::Entry, reader: &mut impl Read, blob: &mut BlobWriter) -> Result<u64, Spoilt> {
    match &entry.sparse {
        None => blob.append(reader, entry.size),
        Some(extents) => blob.append_sparse(reader, extents, entry.size),
    }
}

fn note_symlink(entry: &Entry, symlinks: &mut HashSet<Vec<u8>>) {
    match entry.node {
        Node::Symlink(_) => drop(symlinks.insert(entry.path.clone())),
        // A layer that names a path twice means the second.
        _ if !symlinks.is_empty() => drop(symlinks.remove(&entry.path)),
        _ => {}
    }
}

/// What an archive's entry means; `None` when it means nothing.
fn translate(entry: &tar::Entry, symlinks: &HashSet<Vec<u8>>) -> Result<Option<Entry>, Refusal> {
    let refuse = |reason| Refusal::new(&entry.name, reason);
    if entry.kind == Kind::Other(b'V') {
        return Ok(None);
    }
    let path = normalize(&entry.name).map_err(refuse)?;
    if passes_symlink(&path, symlinks) {
        return Err(refuse("it lies behind a symbolic link of the same layer"));
    }
    if let Some(mark) = whiteout(&path).map_err(refuse)? {
        return Ok(mark);
    }
    let node = match entry.kind {
        Kind::File => Node::File {
            size: entry.size,
            offset: 0,
        },
        Kind::Directory => Node::Directory,
        Kind::Symlink if entry.link.is_empty() => return Err(refuse("a link to nothing")),
        Kind::Symlink if entry.link.len() > MAX_PATH => {
            return Err(refuse("its target is too long"));
        }
        Kind::Symlink => Node::Symlink(entry.link.clone()),
        Kind::Link => {
            let target = normalize(&entry.link)
                .map_err(|_| refuse("a hard link to something outside of the image"))?;
            if passes_symlink(&target, symlinks) {
                return Err(refuse(
                    "a hard link through a symbolic link of the same layer",
                ));
            }
            Node::Link(target)
        }
        Kind::CharDevice => Node::CharDevice(check_device(entry).map_err(refuse)?),
        Kind::BlockDevice => Node::BlockDevice(check_device(entry).map_err(refuse)?),
        Kind::Fifo => Node::Fifo,
        Kind::Other(_) => return Err(refuse("an entry of a kind that husk does not know")),
    };
    if path.is_empty() && node != Node::Directory {
        return Err(refuse("the root must be a directory"));
    }
    let meta = match node {
        Node::Link(_) => Meta::default(),
        _ => meta(entry).map_err(refuse)?,
    };
    Ok(Some(Entry { path, node, meta }))
}

/// A relative path without empty and `.` components.
fn normalize(name: &[u8]) -> Result<Vec<u8>, &'static str> {
    if name.starts_with(b"/") {
        return Err("an absolute name");
    }
    if name.contains(&0) {
        return Err("a name with a zero byte in it");
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err("a name that leads out of the image by `..`"),
            long if long.len() > MAX_NAME => return Err("a name of more than 255 bytes"),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
    }
    if path.len() > MAX_PATH {
        Err("a path of more than 4095 bytes")
    } else {
        Ok(path)
    }
}

fn passes_symlink(path: &[u8], symlinks: &HashSet<Vec<u8>>) -> bool {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    !symlinks.is_empty()
        && slashes
            .map(|(at, _)| &path[..at])
            .any(|above| symlinks.contains(above))
}

/// The mark that `path` is, if it is one: `Some(None)` is a mark without meaning.
fn whiteout(path: &[u8]) -> Result<Option<Option<Entry>>, &'static str> {
    let (above, name) = tree::split(path);
    let mark = |path: Vec<u8>, node| {
        Ok(Some(Some(Entry {
            path,
            node,
            meta: Meta::default(),
        })))
    };
    if name == OPAQUE {
        return mark(above.to_vec(), Node::Opaque);
    }
    if name.starts_with(AUFS) {
        return Ok(Some(None));
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(None),
        Some(b"" | b"." | b"..") => Err("a whiteout of nothing"),
        Some(gone) => mark(tree::join(above, gone), Node::Whiteout),
    }
}

fn check_device(entry: &tar::Entry) -> Result<tree::Device, &'static str> {
    if entry.device.major > MAX_MAJOR || entry.device.minor > MAX_MINOR {
        return Err("a device number that Linux does not have");
    }
    Ok(entry.device)
}

fn meta(entry: &tar::Entry) -> Result<Meta, &'static str> {
    let id = |id: u64| u32::try_from(id).map_err(|_| "an owner that Linux does not have");
    let carried = entry.xattrs.iter().filter(|(name, _)| {
        !name.starts_with(OVERLAY) && XATTR_SPACES.iter().any(|space| name.starts_with(space))
    });
    let xattrs: Vec<_> = carried.cloned().collect();
    let room: usize = xattrs
        .iter()
        .map(|(name, value)| name.len() + value.len() + 8)
        .sum();
    let fits =
        |(name, value): &(Vec<u8>, Vec<u8>)| name.len() <= MAX_NAME && value.len() <= MAX_XATTR;
    if room > MAX_XATTRS || !xattrs.iter().all(fits) {
        return Err("more extended attributes than a file can have");
    }
    Ok(Meta {
        mode: entry.mode,
        uid: id(entry.uid)?,
        gid: id(entry.gid)?,
        mtime: entry.mtime.0,
        mtime_nsec: entry.mtime.1,
        xattrs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalized_or_refused() {
        assert_eq!(normalize(b"./a//b/./c/").unwrap(), b"a/b/c");
        assert_eq!(normalize(b"./").unwrap(), b"");
        assert_eq!(normalize(b"a\xff\xfe").unwrap(), b"a\xff\xfe");
        let long = [b'a'; 256];
        for wrong in [&b"/etc"[..], b"../x", b"a/../../x", b"a/..", b"a\0b", &long] {
            assert!(
                normalize(wrong).is_err(),
                "{}",
                String::from_utf8_lossy(wrong)
            );
        }
    }

    #[test]
    fn whiteouts_are_marks() {
        let mark =
            |path: &str| whiteout(path.as_bytes()).map(|m| m.map(|e| e.map(|e| (e.path, e.node))));
        assert_eq!(mark("a/b"), Ok(None));
        assert_eq!(
            mark("a/.wh.b"),
            Ok(Some(Some((b"a/b".to_vec(), Node::Whiteout))))
        );
        assert_eq!(
            mark(".wh.b"),
            Ok(Some(Some((b"b".to_vec(), Node::Whiteout))))
        );
        assert_eq!(
            mark("a/.wh..wh..opq"),
            Ok(Some(Some((b"a".to_vec(), Node::Opaque))))
        );
        assert_eq!(mark("a/.wh..wh.plnk"), Ok(Some(None)));
        for wrong in [".wh.", "a/.wh..", "a/.wh..."] {
            assert!(mark(wrong).is_err(), "{wrong}");
        }
    }

    fn refused(build: impl Fn(&mut ::tar::Builder<Vec<u8>>)) -> String {
        let mut builder = ::tar::Builder::new(Vec::new());
        build(&mut builder);
        let archive = builder.into_inner().unwrap();
        let mut blob = BlobWriter::new(tempfile::tempfile().unwrap());
        let mut keep = |_: &Entry| Ok(());
        let mut sink = Sink {
            blob: &mut blob,
            entry: &mut keep,
        };
        let limits = Limits {
            max_size: 1000,
            max_entries: 3,
        };
        match unpack(&archive[..], &mut sink, &mut limits.clone(), &limits) {
            Err(Spoilt::Refused(refusal)) => refusal.to_string(),
            Err(Spoilt::Fault(fault)) => fault.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn put(
        builder: &mut ::tar::Builder<Vec<u8>>,
        name: &str,
        kind: ::tar::EntryType,
        link: &str,
        size: u64,
    ) {
        let mut header = ::tar::Header::new_gnu();
        // Raw: the library itself would refuse such names.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        builder
            .append(&header, io::repeat(b'x').take(size))
            .unwrap();
    }

    #[test]
    fn escapes_and_bombs_are_refused_by_name() {
        use ::tar::EntryType as T;
        let table: [(&str, T, &str, &str); 4] = [
            ("../out", T::Regular, "", "`../out`: a name that leads out"),
            (
                "/etc/passwd",
                T::Regular,
                "",
                "`/etc/passwd`: an absolute name",
            ),
            (
                "h",
                T::Link,
                "../../etc/shadow",
                "`h`: a hard link to something outside",
            ),
            ("odd", T::new(b'Z'), "", "`odd`: an entry of a kind"),
        ];
        for (name, kind, link, words) in table {
            let said = refused(|b| put(b, name, kind, link, 0));
            assert!(said.contains(words), "{said}");
        }
        let through = refused(|b| {
            put(b, "d", T::Symlink, "/etc", 0);
            put(b, "d/passwd", T::Regular, "", 0);
        });
        assert!(
            through.contains("`d/passwd`: it lies behind a symbolic link"),
            "{through}"
        );
        assert!(refused(|b| put(b, "big", T::Regular, "", 1001)).contains("--max-size"));
        let odd = refused(|b| put(b, "volume", T::new(b'V'), "", 1001));
        assert!(odd.contains("--max-size"), "{odd}");
        let behind = refused(|b| {
            put(b, "f", T::Regular, "", 1);
            b.get_mut().extend([0; 4096]);
        });
        assert!(behind.contains("--max-size"), "{behind}");
        let many = refused(|b| (0..4).for_each(|n| put(b, &format!("f{n}"), T::Regular, "", 1)));
        assert!(many.contains("--max-entries"), "{many}");
    }
}
