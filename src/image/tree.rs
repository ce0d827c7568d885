//! The file tree: what a layer says (entries, whiteouts) and what an image is (nodes).
//!
//! A [`LayerTree`] is the metadata of one layer in the order of its archive. File contents are not
//! in it: they lie in the layer's *blob*, each file starting at a multiple of [`BLOCK`].

/// Alignment of file contents in a blob, and the block size of the disk: bytes.
pub const BLOCK: u64 = 4096;

/// Owner, permissions, times and extended attributes of an inode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits, set-uid, set-gid and sticky: `0o7777` at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since the Unix epoch.
    pub mtime: i64,
    /// And nanoseconds.
    pub mtime_nsec: u32,
    /// Full names (`security.capability`) and values, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry of a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory; its meta replaces that of a lower layer's, its children stay.
    Directory,
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Where its content starts in the layer's blob, a multiple of [`BLOCK`]; 0 when empty.
        offset: u64,
    },
    /// A symbolic link and its target, any bytes.
    Symlink(Vec<u8>),
    /// Another name for the inode at this path, in this layer or a lower one.
    Link(Vec<u8>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// OCI whiteout (`.wh.NAME`): the lower layers' `path` is gone. No meta.
    Whiteout,
    /// OCI opaque whiteout (`.wh..wh..opq`): what lower layers have below directory `path` is
    /// gone. No meta. Applies to lower layers only, wherever it stands in the archive.
    Opaque,
}

/// Device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative path, components separated by `/`, none of them empty, `.` or `..`. Empty is the
    /// root directory itself. Any bytes but NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub node: Node,
    /// Its attributes; default for whiteouts and links.
    pub meta: Meta,
}

/// One layer's entries, in the order of its archive; a later entry of the same path wins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerTree {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Bytes of the layer's blob, a multiple of [`BLOCK`].
    pub blob_len: u64,
}

/// The directory and the name of a path; both empty for the root itself.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// A name in a directory.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        return name.to_vec();
    }
    [directory, b"/", name].concat()
}
