//! A FUSE request: parsed and checked, nothing done.
//!
//! ```text
//! 0     4        8        16      24    28    32    36        40
//! │ len │ opcode │ unique │ node  │ uid │ gid │ pid │ padding │ fields of the operation, names, data
//! ```

use std::ffi::CStr;

use rustix::io::Errno;

use super::wire::{Fields, op};

/// What every request begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the request, this header included.
    pub len: u32,
    /// The operation.
    pub opcode: u32,
    /// What the answer is found by.
    pub unique: u64,
    /// The inode that it is about.
    pub node: u64,
    /// Who asks: the guest's user.
    pub uid: u32,
    /// The guest's group.
    pub gid: u32,
}

/// What the guest wants of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the protocol")]
pub enum Operation<'b> {
    Init {
        major: u32,
        readahead: u32,
        features: u32,
    },
    Destroy,
    Lookup {
        name: &'b CStr,
    },
    /// Inodes, and how many lookups of each are forgotten. No answer.
    Forget(Vec<(u64, u64)>),
    GetAttributes {
        handle: Option<u64>,
    },
    SetAttributes(Changes),
    ReadLink,
    MakeLink {
        name: &'b CStr,
        target: &'b CStr,
    },
    MakeNode {
        name: &'b CStr,
        mode: u32,
    },
    MakeDirectory {
        name: &'b CStr,
        mode: u32,
    },
    Remove {
        name: &'b CStr,
    },
    RemoveDirectory {
        name: &'b CStr,
    },
    Rename {
        to: u64,
        flags: u32,
        old: &'b CStr,
        new: &'b CStr,
    },
    Link {
        node: u64,
        name: &'b CStr,
    },
    Open {
        flags: u32,
        kill: bool,
    },
    Create {
        flags: u32,
        mode: u32,
        name: &'b CStr,
        kill: bool,
    },
    Read {
        handle: u64,
        offset: u64,
        size: u32,
    },
    /// The data follow the fields.
    Write {
        handle: u64,
        offset: u64,
        size: u32,
        kill: bool,
    },
    Release {
        handle: u64,
    },
    Sync {
        handle: u64,
        data_only: bool,
    },
    Allocate {
        handle: u64,
        offset: u64,
        len: u64,
        mode: u32,
    },
    Seek {
        handle: u64,
        offset: u64,
        whence: u32,
    },
    Copy(Range),
    OpenDirectory,
    ReadDirectory {
        handle: u64,
        offset: u64,
        size: u32,
        attributes: bool,
    },
    SyncFileSystem,
    FileSystem,
    SetXattr {
        name: &'b CStr,
        value: &'b [u8],
        flags: u32,
    },
    GetXattr {
        name: &'b CStr,
        size: u32,
    },
    ListXattr {
        size: u32,
    },
    RemoveXattr {
        name: &'b CStr,
    },
    /// No answer, and nothing to do: what is under way is soon done.
    Interrupt,
    Unknown,
}

/// What SETATTR changes; `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// The open file, where the guest has one.
    pub handle: Option<u64>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Bytes.
    pub size: Option<u64>,
    /// Last access.
    pub accessed: Option<Time>,
    /// Last change of the content.
    pub modified: Option<Time>,
    /// Whether set-user-id bits go.
    pub kill: bool,
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The host's present.
    Now,
    /// Seconds and nanoseconds since the epoch.
    At(u64, u32),
}

/// What COPY_FILE_RANGE copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Open file, and first byte.
    pub from: (u64, u64),
    /// Open file, and first byte.
    pub to: (u64, u64),
    /// Bytes.
    pub len: u64,
}

/// FATTR_*: what of SETATTR is meant.
const FATTR_MODE: u32 = 1 << 0;
const FATTR_UID: u32 = 1 << 1;
const FATTR_GID: u32 = 1 << 2;
const FATTR_SIZE: u32 = 1 << 3;
const FATTR_ATIME: u32 = 1 << 4;
const FATTR_MTIME: u32 = 1 << 5;
const FATTR_FH: u32 = 1 << 6;
const FATTR_ATIME_NOW: u32 = 1 << 7;
const FATTR_MTIME_NOW: u32 = 1 << 8;
const FATTR_KILL_SUIDGID: u32 = 1 << 11;

/// Flags of GETATTR, WRITE, OPEN, and FSYNC.
const GETATTR_FH: u32 = 1 << 0;
const WRITE_KILL_SUIDGID: u32 = 1 << 2;
const OPEN_KILL_SUIDGID: u32 = 1 << 0;
const FSYNC_DATA: u32 = 1 << 0;

/// Parses the header.
pub fn parse_header(bytes: &[u8]) -> Result<Header, Errno> {
    let mut from = Fields(bytes);
    Ok(Header {
        len: from.u32()?,
        opcode: from.u32()?,
        unique: from.u64()?,
        node: from.u64()?,
        uid: from.u32()?,
        gid: from.u32()?,
    })
}

/// Parses what follows the header: `body` is all of it, but for the data of WRITE. What is malformed is
/// EINVAL; what this server does not know is [`Operation::Unknown`].
pub fn parse<'b>(header: &Header, body: &'b [u8]) -> Result<Operation<'b>, Errno> {
    let mut from = Fields(body);
    let from = &mut from;
    Ok(match header.opcode {
        op::INIT => Operation::Init {
            major: from.u32()?,
            // The minor version comes first: the features say what of it is used.
            readahead: from.u32().and_then(|_| from.u32())?,
            features: from.u32()?,
        },
        op::DESTROY => Operation::Destroy,
        op::FORGET => Operation::Forget(vec![(header.node, from.u64()?)]),
        op::BATCH_FORGET => parse_forgotten(from)?,
        op::GETATTR => {
            let (flags, _, handle) = (from.u32()?, from.u32()?, from.u64()?);
            let handle = (flags & GETATTR_FH != 0).then_some(handle);
            Operation::GetAttributes { handle }
        }
        op::SETATTR => Operation::SetAttributes(parse_changes(from)?),
        op::READLINK => Operation::ReadLink,
        op::RELEASE | op::RELEASEDIR => Operation::Release {
            handle: from.u64()?,
        },
        op::FSYNC | op::FSYNCDIR => Operation::Sync {
            handle: from.u64()?,
            data_only: from.u32()? & FSYNC_DATA != 0,
        },
        op::OPENDIR => Operation::OpenDirectory,
        op::SYNCFS => Operation::SyncFileSystem,
        op::STATFS => Operation::FileSystem,
        op::INTERRUPT => Operation::Interrupt,
        op::SETXATTR | op::GETXATTR | op::LISTXATTR | op::REMOVEXATTR => {
            parse_xattr(header.opcode, from)?
        }
        op::OPEN..=op::WRITE
        | op::READDIR
        | op::READDIRPLUS
        | op::FALLOCATE
        | op::LSEEK
        | op::COPY_FILE_RANGE => parse_content(header.opcode, from)?,
        _ => parse_names(header.opcode, from)?,
    })
}

/// Operations on names.
fn parse_names<'b>(opcode: u32, from: &mut Fields<'b>) -> Result<Operation<'b>, Errno> {
    Ok(match opcode {
        op::LOOKUP => Operation::Lookup { name: from.name()? },
        op::SYMLINK => Operation::MakeLink {
            name: from.name()?,
            target: from.string()?,
        },
        op::MKNOD => {
            let mode = from.u32()?;
            // Device number, umask and padding: the kernel has applied the umask.
            from.take(12)?;
            Operation::MakeNode {
                mode,
                name: from.name()?,
            }
        }
        op::MKDIR => {
            let mode = from.u32()?;
            from.take(4)?;
            Operation::MakeDirectory {
                mode,
                name: from.name()?,
            }
        }
        op::UNLINK => Operation::Remove { name: from.name()? },
        op::RMDIR => Operation::RemoveDirectory { name: from.name()? },
        op::RENAME => Operation::Rename {
            to: from.u64()?,
            flags: 0,
            old: from.name()?,
            new: from.name()?,
        },
        op::RENAME2 => Operation::Rename {
            to: from.u64()?,
            flags: from.u32().and_then(|flags| from.u32().map(|_| flags))?,
            old: from.name()?,
            new: from.name()?,
        },
        op::LINK => Operation::Link {
            node: from.u64()?,
            name: from.name()?,
        },
        op::CREATE => {
            let (flags, mode, _umask) = (from.u32()?, from.u32()?, from.u32()?);
            Operation::Create {
                flags,
                mode,
                kill: from.u32()? & OPEN_KILL_SUIDGID != 0,
                name: from.name()?,
            }
        }
        _ => Operation::Unknown,
    })
}

/// Operations on what files and directories hold.
fn parse_content<'b>(opcode: u32, from: &mut Fields<'b>) -> Result<Operation<'b>, Errno> {
    if opcode == op::OPEN {
        return Ok(Operation::Open {
            flags: from.u32()?,
            kill: from.u32()? & OPEN_KILL_SUIDGID != 0,
        });
    }
    let (handle, offset) = (from.u64()?, from.u64()?);
    Ok(match opcode {
        op::READ => Operation::Read {
            handle,
            offset,
            size: from.u32()?,
        },
        op::WRITE => Operation::Write {
            handle,
            offset,
            size: from.u32()?,
            kill: from.u32()? & WRITE_KILL_SUIDGID != 0,
        },
        op::READDIR | op::READDIRPLUS => Operation::ReadDirectory {
            handle,
            offset,
            size: from.u32()?,
            attributes: opcode == op::READDIRPLUS,
        },
        op::FALLOCATE => Operation::Allocate {
            handle,
            offset,
            len: from.u64()?,
            mode: from.u32()?,
        },
        op::LSEEK => Operation::Seek {
            handle,
            offset,
            whence: from.u32()?,
        },
        op::COPY_FILE_RANGE => {
            let _node = from.u64()?;
            Operation::Copy(Range {
                from: (handle, offset),
                to: (from.u64()?, from.u64()?),
                len: from.u64()?,
            })
        }
        _ => Operation::Unknown,
    })
}

fn parse_forgotten<'b>(from: &mut Fields<'b>) -> Result<Operation<'b>, Errno> {
    let (count, _) = (from.u32()?, from.u32()?);
    let mut forgotten = Vec::new();
    // The count is the guest's word, the bytes are what there is.
    while forgotten.len() < usize::try_from(count).unwrap_or(usize::MAX) && !from.0.is_empty() {
        forgotten.push((from.u64()?, from.u64()?));
    }
    Ok(Operation::Forget(forgotten))
}

fn parse_changes(from: &mut Fields<'_>) -> Result<Changes, Errno> {
    let (valid, _, handle, size, _) = (
        from.u32()?,
        from.u32()?,
        from.u64()?,
        from.u64()?,
        from.u64()?,
    );
    let seconds = [from.u64()?, from.u64()?, from.u64()?];
    let nanoseconds = [from.u32()?, from.u32()?, from.u32()?];
    let (mode, _, uid, gid) = (from.u32()?, from.u32()?, from.u32()?, from.u32()?);
    let is = |flag: u32| valid & flag != 0;
    let time = |set, now, index: usize| match (is(set), is(now)) {
        (_, true) => Some(Time::Now),
        (true, false) => Some(Time::At(seconds[index], nanoseconds[index])),
        (false, false) => None,
    };
    Ok(Changes {
        handle: is(FATTR_FH).then_some(handle),
        mode: is(FATTR_MODE).then_some(mode),
        uid: is(FATTR_UID).then_some(uid),
        gid: is(FATTR_GID).then_some(gid),
        size: is(FATTR_SIZE).then_some(size),
        accessed: time(FATTR_ATIME, FATTR_ATIME_NOW, 0),
        modified: time(FATTR_MTIME, FATTR_MTIME_NOW, 1),
        kill: is(FATTR_KILL_SUIDGID),
    })
}

fn parse_xattr<'b>(opcode: u32, from: &mut Fields<'b>) -> Result<Operation<'b>, Errno> {
    if opcode == op::REMOVEXATTR {
        return Ok(Operation::RemoveXattr {
            name: from.string()?,
        });
    }
    let (size, flags) = (from.u32()?, from.u32()?);
    Ok(match opcode {
        op::SETXATTR => Operation::SetXattr {
            name: from.string()?,
            value: from.take(usize::try_from(size).map_err(|_| Errno::INVAL)?)?,
            flags,
        },
        op::GETXATTR => Operation::GetXattr {
            name: from.string()?,
            size,
        },
        _ => Operation::ListXattr { size },
    })
}
