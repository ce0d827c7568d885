//! A layer's tree as a file: written entry by entry while the layer is unpacked, read whole.
//!
//! ```text
//! "husktree" │ u32 version │ entry … │ u32 0xffffffff │ u64 blob_len │ u64 entries
//!                              └ u32 length │ tag │ path │ fields │ meta
//! ```
//! The last two numbers are there only when the layer was finished.

use std::io::{self, Write};

use husk_init::wire::{Reader, WireError, Writer};

use super::tree::{Device, Entry, LayerTree, Meta, Node};

const MAGIC: &[u8; 8] = b"husktree";
const VERSION: u32 = 1;
const END: u32 = u32::MAX;

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const SYMLINK: u8 = 2;
const LINK: u8 = 3;
const CHAR_DEVICE: u8 = 4;
const BLOCK_DEVICE: u8 = 5;
const FIFO: u8 = 6;
const WHITEOUT: u8 = 7;
const OPAQUE: u8 = 8;

/// Writes a tree.
#[derive(Debug)]
pub struct TreeWriter<W> {
    out: W,
    entries: u64,
}

impl<W: Write> TreeWriter<W> {
    /// Begins a tree.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        Ok(Self { out, entries: 0 })
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: &Entry) -> io::Result<()> {
        let mut record = Writer::new();
        write_entry(&mut record, entry);
        let record = record.into_bytes();
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        self.entries += 1;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&record)
    }

    /// Ends the tree of a layer whose blob has `blob_len` bytes.
    pub fn finish(mut self, blob_len: u64) -> io::Result<()> {
        self.out.write_all(&END.to_le_bytes())?;
        self.out.write_all(&blob_len.to_le_bytes())?;
        self.out.write_all(&self.entries.to_le_bytes())?;
        self.out.flush()
    }
}

/// Reads a tree.
pub fn read(bytes: &[u8]) -> Result<LayerTree, WireError> {
    let mut from = Reader::new(bytes);
    if from.fixed::<8>()? != *MAGIC || from.u32()? != VERSION {
        return Err(WireError::Truncated);
    }
    let mut at = MAGIC.len() + size_of::<u32>();
    let mut entries = Vec::new();
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let mut from = Reader::new(rest);
        let length = from.u32()?;
        if length == END {
            let tree = LayerTree {
                entries,
                blob_len: from.u64()?,
            };
            let counted = from.u64()? == tree.entries.len() as u64;
            from.finish()?;
            return if counted {
                Ok(tree)
            } else {
                Err(WireError::Truncated)
            };
        }
        let end = size_of::<u32>() + usize::try_from(length).map_err(|_| WireError::Truncated)?;
        let record = rest
            .get(size_of::<u32>()..end)
            .ok_or(WireError::Truncated)?;
        let mut from = Reader::new(record);
        entries.push(read_entry(&mut from)?);
        from.finish()?;
        at += end;
    }
}

fn write_entry(out: &mut Writer, entry: &Entry) {
    out.bytes(&entry.path);
    match &entry.node {
        Node::Directory => out.u8(DIRECTORY),
        Node::File { size, offset } => {
            out.u8(FILE);
            out.u64(*size);
            out.u64(*offset);
        }
        Node::Symlink(target) => {
            out.u8(SYMLINK);
            out.bytes(target);
        }
        Node::Link(target) => {
            out.u8(LINK);
            out.bytes(target);
        }
        Node::CharDevice(device) => {
            out.u8(CHAR_DEVICE);
            write_device(out, *device);
        }
        Node::BlockDevice(device) => {
            out.u8(BLOCK_DEVICE);
            write_device(out, *device);
        }
        Node::Fifo => out.u8(FIFO),
        Node::Whiteout => out.u8(WHITEOUT),
        Node::Opaque => out.u8(OPAQUE),
    }
    let meta = &entry.meta;
    out.u16(meta.mode);
    out.u32(meta.uid);
    out.u32(meta.gid);
    out.u64(meta.mtime.cast_unsigned());
    out.u32(meta.mtime_nsec);
    out.list(&meta.xattrs, |out, (name, value)| {
        out.bytes(name);
        out.bytes(value);
    });
}

fn write_device(out: &mut Writer, device: Device) {
    out.u32(device.major);
    out.u32(device.minor);
}

fn read_entry(from: &mut Reader<'_>) -> Result<Entry, WireError> {
    let path = from.bytes()?;
    let node = match from.u8()? {
        DIRECTORY => Node::Directory,
        FILE => Node::File {
            size: from.u64()?,
            offset: from.u64()?,
        },
        SYMLINK => Node::Symlink(from.bytes()?),
        LINK => Node::Link(from.bytes()?),
        CHAR_DEVICE => Node::CharDevice(read_device(from)?),
        BLOCK_DEVICE => Node::BlockDevice(read_device(from)?),
        FIFO => Node::Fifo,
        WHITEOUT => Node::Whiteout,
        OPAQUE => Node::Opaque,
        unknown => return Err(WireError::UnknownTag(unknown)),
    };
    let meta = Meta {
        mode: from.u16()?,
        uid: from.u32()?,
        gid: from.u32()?,
        mtime: from.u64()?.cast_signed(),
        mtime_nsec: from.u32()?,
        xattrs: from.list(|from| Ok((from.bytes()?, from.bytes()?)))?,
    };
    Ok(Entry { path, node, meta })
}

fn read_device(from: &mut Reader<'_>) -> Result<Device, WireError> {
    Ok(Device {
        major: from.u32()?,
        minor: from.u32()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Entry> {
        let device = Device {
            major: 8,
            minor: 300,
        };
        let nodes = [
            Node::Directory,
            Node::File {
                size: 5,
                offset: 4096,
            },
            Node::Symlink(b"t\xff".to_vec()),
            Node::Link(b"a/b".to_vec()),
            Node::CharDevice(device),
            Node::BlockDevice(device),
            Node::Fifo,
            Node::Whiteout,
            Node::Opaque,
        ];
        let meta = Meta {
            mode: 0o4755,
            uid: 1,
            gid: 2,
            mtime: -3,
            mtime_nsec: 4,
            xattrs: vec![(b"user.a".to_vec(), b"b".to_vec())],
        };
        nodes
            .map(|node| Entry {
                path: b"p".to_vec(),
                node,
                meta: meta.clone(),
            })
            .into()
    }

    #[test]
    fn a_tree_survives_its_file_and_no_part_of_one_is_a_tree() {
        let mut bytes = Vec::new();
        let mut writer = TreeWriter::new(&mut bytes).unwrap();
        sample()
            .iter()
            .for_each(|entry| writer.push(entry).unwrap());
        writer.finish(8192).unwrap();
        assert_eq!(
            read(&bytes),
            Ok(LayerTree {
                entries: sample(),
                blob_len: 8192
            })
        );
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "cut at {len}");
        }
    }
}
