//! Writes the metadata of an EROFS whose contents lie in blobs behind it on the disk.
//!
//! ```text
//! block 0                                                    first content block
//! ├ 1024: superblock ┼ inodes, 32-byte slots ┼ directories and links too long ┤ blob 0 │ blob 1 …
//!                       └ 64 bytes │ xattrs │ tail: a short directory or link
//! ```
//! The format is the kernel's `Documentation/filesystems/erofs.rst` and `fs/erofs/erofs_fs.h`,
//! uncompressed: every inode is an extended one, a file's data is one run of blocks, and a
//! directory's last, unfull block lies behind its inode when both fit into one block. Equal trees
//! give equal bytes: inodes are numbered in the order of a walk by names.

use thiserror::Error;

use super::merge::{Id, Inode, Kind, Tree};
use super::tree::{BLOCK, Device};

const BLOCK_BITS: u8 = 12;
const BLOCK_LEN: usize = 1 << BLOCK_BITS;

const SUPERBLOCK: usize = 1024;
const SUPERBLOCK_LEN: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
/// i_mtime is a modification time, and not one of change.
const COMPAT_MTIME: u32 = 2;

const SLOT: usize = 32;
const INODE_LEN: usize = 64;
/// Bit 0 of i_format: an extended inode; the layout stands above it.
const EXTENDED: u16 = 1;
const FLAT_PLAIN: u16 = 0;
const FLAT_INLINE: u16 = 2;

const DIRENT_LEN: usize = 12;
const XATTR_HEADER_LEN: usize = 12;

const S_IFIFO: u16 = 0o010_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFBLK: u16 = 0o060_000;
const S_IFREG: u16 = 0o100_000;
const S_IFLNK: u16 = 0o120_000;

/// The disk has more blocks than 32 bits can count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the image is larger than a disk of 16 TiB")]
pub struct TooLarge;

/// An inode's place, once it has one.
#[derive(Debug, Clone, Default)]
struct Placed {
    /// Byte position in the image; 0 is none.
    at: usize,
    links: u32,
    parent: Id,
    xattrs: Vec<u8>,
    /// Bytes of a directory or link.
    data_len: usize,
    /// Whether the part behind the last full block lies behind the inode.
    inline: bool,
    /// First block of the rest.
    block: u32,
}

/// Serializes the metadata of `tree`; blob `n` takes `blobs[n]` bytes of the disk, whole blocks.
/// The result is whole blocks too.
pub fn write(tree: &Tree, blobs: &[u64]) -> Result<Vec<u8>, TooLarge> {
    let mut layout = Layout {
        tree,
        placed: vec![Placed::default(); tree.id_bound()],
        order: Vec::new(),
    };
    layout.number(tree.root());
    let end = layout.place()?;
    let mut starts = Vec::with_capacity(blobs.len());
    let mut blocks = blocks_of(end as u64)?;
    for len in blobs {
        starts.push(blocks);
        blocks = blocks.checked_add(blocks_of(*len)?).ok_or(TooLarge)?;
    }
    let mut image = vec![0; end];
    layout.write_superblock(&mut image, blocks);
    for id in &layout.order {
        layout.write_inode(&mut image, *id, &starts);
    }
    Ok(image)
}

fn blocks_of(bytes: u64) -> Result<u32, TooLarge> {
    u32::try_from(bytes.div_ceil(BLOCK)).map_err(|_| TooLarge)
}

struct Layout<'a> {
    tree: &'a Tree,
    placed: Vec<Placed>,
    /// Inodes as they follow one another.
    order: Vec<Id>,
}

impl Layout<'_> {
    /// Orders the inodes and counts their names: a directory, then what it names, then below.
    fn number(&mut self, root: Id) {
        self.order.push(root);
        self.placed[root].parent = root;
        let mut directories = vec![root];
        while let Some(directory) = directories.pop() {
            let Kind::Directory(names) = &self.tree.inode(directory).kind else {
                continue;
            };
            let mut below = Vec::new();
            self.placed[directory].links += 2;
            for child in names.values() {
                if let Kind::Directory(_) = self.tree.inode(*child).kind {
                    self.placed[directory].links += 1;
                    self.placed[*child].parent = directory;
                    below.push(*child);
                    self.order.push(*child);
                } else {
                    self.placed[*child].links += 1;
                    if self.placed[*child].links == 1 {
                        self.order.push(*child);
                    }
                }
            }
            directories.extend(below.into_iter().rev());
        }
    }

    /// Gives every inode its place and every block outside of an inode too; where the image ends.
    fn place(&mut self) -> Result<usize, TooLarge> {
        let mut end = SUPERBLOCK + SUPERBLOCK_LEN;
        for id in &self.order {
            let inode = self.tree.inode(*id);
            let placed = &mut self.placed[*id];
            placed.xattrs = encode_xattrs(inode);
            placed.data_len = match &inode.kind {
                Kind::Directory(names) => directory_len(names.keys().map(Vec::as_slice)),
                Kind::Symlink(target) => target.len(),
                _ => 0,
            };
            let head = INODE_LEN + placed.xattrs.len();
            let tail = placed.data_len % BLOCK_LEN;
            placed.inline = tail > 0 && head + tail <= BLOCK_LEN;
            let len = if placed.inline { head + tail } else { head };
            end = end.next_multiple_of(SLOT);
            // What can lie in one block does: inline data must, and the rest is read at once.
            if end % BLOCK_LEN + len > BLOCK_LEN {
                end = end.next_multiple_of(BLOCK_LEN);
            }
            placed.at = end;
            end += len;
        }
        end = end.next_multiple_of(BLOCK_LEN);
        for id in &self.order {
            let placed = &mut self.placed[*id];
            let outside = if placed.inline {
                placed.data_len / BLOCK_LEN
            } else {
                placed.data_len.div_ceil(BLOCK_LEN)
            };
            placed.block = blocks_of(end as u64)?;
            end += outside * BLOCK_LEN;
        }
        Ok(end)
    }

    fn write_superblock(&self, image: &mut [u8], blocks: u32) {
        let mut fields = Fields::default();
        fields.u32(MAGIC);
        fields.u32(0); // No checksum: it would be computed again at every boot.
        fields.u32(COMPAT_MTIME);
        fields.u8(BLOCK_BITS);
        fields.u8(0);
        fields.u16(u16::try_from(self.nid(self.tree.root())).expect("the root comes first"));
        fields.u64(self.order.len() as u64);
        fields.u64(0);
        fields.u32(0);
        fields.u32(blocks);
        image[SUPERBLOCK..SUPERBLOCK + fields.0.len()].copy_from_slice(&fields.0);
    }

    /// The number by which directories name an inode: its slot.
    fn nid(&self, id: Id) -> u64 {
        (self.placed[id].at / SLOT) as u64
    }

    fn write_inode(&self, image: &mut [u8], id: Id, starts: &[u32]) {
        let (inode, placed) = (self.tree.inode(id), &self.placed[id]);
        let data = match &inode.kind {
            Kind::Directory(names) => {
                self.directory(id, names.iter().map(|(name, id)| (name.as_slice(), *id)))
            }
            Kind::Symlink(target) => target.clone(),
            _ => Vec::new(),
        };
        let mut fields = self.inode_fields(id, inode, starts);
        fields.0.extend_from_slice(&placed.xattrs);
        let split = if placed.inline {
            data.len() - data.len() % BLOCK_LEN
        } else {
            data.len()
        };
        fields.0.extend_from_slice(&data[split..]);
        image[placed.at..placed.at + fields.0.len()].copy_from_slice(&fields.0);
        let outside = placed.block as usize * BLOCK_LEN;
        image[outside..outside + split].copy_from_slice(&data[..split]);
    }

    /// The extended inode (struct erofs_inode_extended).
    fn inode_fields(&self, id: Id, inode: &Inode, starts: &[u32]) -> Fields {
        let placed = &self.placed[id];
        let (kind, size, union) = match &inode.kind {
            Kind::Directory(_) => (S_IFDIR, placed.data_len as u64, placed.block),
            Kind::Symlink(_) => (S_IFLNK, placed.data_len as u64, placed.block),
            Kind::File { size: 0, .. } => (S_IFREG, 0, 0),
            Kind::File { blob, size, offset } => {
                let start = u32::try_from(offset / BLOCK).expect("a blob's blocks are counted");
                (S_IFREG, *size, starts[*blob] + start)
            }
            Kind::CharDevice(device) => (S_IFCHR, 0, encode_device(*device)),
            Kind::BlockDevice(device) => (S_IFBLK, 0, encode_device(*device)),
            Kind::Fifo => (S_IFIFO, 0, 0),
        };
        let layout = if placed.inline {
            FLAT_INLINE
        } else {
            FLAT_PLAIN
        };
        let xattr_slots = match placed.xattrs.len() {
            0 => 0,
            len => (len - XATTR_HEADER_LEN) / size_of::<u32>() + 1,
        };
        let mut fields = Fields::default();
        fields.u16(EXTENDED | layout << 1);
        fields.u16(u16::try_from(xattr_slots).expect("layers limit attributes"));
        fields.u16(kind | inode.meta.mode);
        fields.u16(0);
        fields.u64(size);
        fields.u32(union);
        fields.u32(u32::try_from(self.nid(id)).unwrap_or(u32::MAX));
        fields.u32(inode.meta.uid);
        fields.u32(inode.meta.gid);
        fields.u64(inode.meta.mtime.cast_unsigned());
        fields.u32(inode.meta.mtime_nsec);
        fields.u32(placed.links);
        fields.0.resize(INODE_LEN, 0);
        fields
    }

    /// A directory's blocks: entries first, then their names.
    fn directory<'n>(&self, id: Id, names: impl Iterator<Item = (&'n [u8], Id)>) -> Vec<u8> {
        let mut entries: Vec<(&[u8], Id)> = names.collect();
        entries.push((b".", id));
        entries.push((b"..", self.placed[id].parent));
        entries.sort_unstable();
        let mut data: Vec<u8> = Vec::new();
        let mut rest = entries.as_slice();
        while !rest.is_empty() {
            data.resize(data.len().next_multiple_of(BLOCK_LEN), 0);
            let (block, left) = rest.split_at(fitting(rest.iter().map(|(name, _)| name.len())));
            let mut offset = block.len() * DIRENT_LEN;
            let mut fields = Fields::default();
            for (name, child) in block {
                fields.u64(self.nid(*child));
                fields.u16(u16::try_from(offset).expect("inside a block"));
                fields.u8(file_type(&self.tree.inode(*child).kind));
                fields.u8(0);
                offset += name.len();
            }
            data.extend_from_slice(&fields.0);
            block
                .iter()
                .for_each(|(name, _)| data.extend_from_slice(name));
            rest = left;
        }
        data
    }
}

/// How many entries fit into one block, given the lengths of their names.
fn fitting(lengths: impl Iterator<Item = usize>) -> usize {
    let ends = lengths.scan(0, |end, len| {
        *end += DIRENT_LEN + len;
        Some(*end)
    });
    ends.take_while(|end| *end <= BLOCK_LEN).count()
}

/// Bytes of a directory of these names, which are sorted.
fn directory_len<'n>(names: impl Iterator<Item = &'n [u8]>) -> usize {
    let mut names: Vec<&[u8]> = names.chain([&b"."[..], b".."]).collect();
    names.sort_unstable();
    let mut rest = names.as_slice();
    let mut full = 0;
    loop {
        let count = fitting(rest.iter().map(|name| name.len()));
        if count == rest.len() {
            return full
                + rest
                    .iter()
                    .map(|name| DIRENT_LEN + name.len())
                    .sum::<usize>();
        }
        rest = &rest[count..];
        full += BLOCK_LEN;
    }
}

/// File types of directory entries (include/linux/fs_types.h, FT_*).
fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } => 1,
        Kind::Directory(_) => 2,
        Kind::CharDevice(_) => 3,
        Kind::BlockDevice(_) => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// A device number as 32 bits hold it (include/linux/kdev_t.h, new_encode_dev).
fn encode_device(device: Device) -> u32 {
    (device.minor & 0xff) | device.major << 8 | (device.minor & !0xff) << 12
}

/// Prefixes that are written as a number (EROFS_XATTR_INDEX_*).
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// The attributes behind an inode: a header, then entries at multiples of four.
fn encode_xattrs(inode: &Inode) -> Vec<u8> {
    let mut fields = Fields::default();
    for (name, value) in &inode.meta.xattrs {
        let known = PREFIXES
            .iter()
            .find_map(|(prefix, index)| Some((name.strip_prefix(*prefix)?, *index)));
        let Some((rest, index)) = known else { continue };
        fields.u8(u8::try_from(rest.len()).expect("layers limit names"));
        fields.u8(index);
        fields.u16(u16::try_from(value.len()).expect("layers limit values"));
        fields.0.extend_from_slice(rest);
        fields.0.extend_from_slice(value);
        fields
            .0
            .resize(fields.0.len().next_multiple_of(size_of::<u32>()), 0);
    }
    if fields.0.is_empty() {
        return fields.0;
    }
    [&[0; XATTR_HEADER_LEN], fields.0.as_slice()].concat()
}

/// Little-endian fields, one after another.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests;
