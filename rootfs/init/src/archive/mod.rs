//! Files in and out of a machine, as a tar stream. The same code packs and unpacks on both sides: in the
//! guest as a session of init's own program ([`program`]), and on the host for whoever asked.
//!
//! ```text
//!  cp NAME:SRC DEST     guest: pack SRC ──▶ stream ──▶ host: place DEST, unpack
//!  cp SRC NAME:DEST     host: pack SRC ──▶ stream ──▶ guest: place DEST, unpack
//!  diff, commit         guest: changes ──▶ stream, a layer by the OCI image spec
//! ```
//!
//! The stream is tar as POSIX has it (pax), in the part of it that [`tar`] writes: whoever reads it refuses
//! everything else. Whoever unpacks trusts no name in it, and keeps no more in memory than one header and
//! the directories that it is in.

mod changes;
mod error;
mod pack;
mod place;
pub mod program;
pub mod tar;
#[cfg(test)]
mod tests;
mod unpack;

pub use changes::pack_changes;
pub use error::{Error, Shown};
pub use pack::{Options, pack};
pub use place::{Place, Source, directory, place};
pub use unpack::{Owners, Rules, Unpacking, check_name, unpack};

/// Bytes that are read, moved and written at once.
pub const CHUNK: usize = 64 << 10;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A regular file; its bytes follow.
    #[default]
    File,
    /// One more name of a file that came before.
    Link,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Its name, without a slash at the end.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// Permissions: twelve bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file.
    pub size: u64,
    /// Time of the last change, seconds since 1970.
    pub mtime: i64,
    /// Number of a device.
    pub device: (u32, u32),
    /// Extended attributes, by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}
