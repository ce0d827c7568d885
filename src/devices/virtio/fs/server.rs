//! Who does what the guest asks: one operation after the other, each by descriptors.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use super::content::Data;
use super::handles::Handles;
use super::inodes::{Inode, Inodes};
use super::names::VALID;
use super::request::{Header, Operation};
use super::share::{Owners, Share};
use super::wire::{Answer, MAJOR, MINOR, ROOT, feature};

/// Most bytes of one WRITE, and pages of one request.
const MAX_WRITE: u32 = 1 << 20;
const MAX_PAGES: u16 = 256;

/// Requests that the guest may have under way without waiting for one (the kernel's own default is 12).
const MAX_BACKGROUND: u16 = 64;
const CONGESTION_THRESHOLD: u16 = 48;

/// Descriptors that are left for the rest of the process.
const RESERVE: usize = 256;

/// What follows the header of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// There is no answer at all.
    Nothing,
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes, which are in the guest's memory already.
    Filled(usize),
}

impl From<Answer> for Reply {
    fn from(Answer(bytes): Answer) -> Self {
        Self::Bytes(bytes)
    }
}

/// Well done, and nothing to say.
pub(super) const DONE: Reply = Reply::Bytes(Vec::new());

/// The shares of a device, and what the guest knows of them.
#[derive(Debug)]
pub struct Server {
    pub(super) shares: Vec<Share>,
    pub(super) inodes: Inodes,
    pub(super) handles: Handles,
    /// Devices of the host whose inode numbers the guest has seen.
    pub(super) devices: Vec<u64>,
    /// `/proc/self/fd`: through it an inode is opened again, for more than its name.
    proc: OwnedFd,
    /// Most inodes and handles together.
    most: usize,
    /// Whether this process may clear any file's set-user-id bits, and so has to.
    pub(super) clears_bits: bool,
}

impl Server {
    /// A server of `shares`, which are numbered by their order, with `descriptors` to use at most.
    pub fn new(shares: Vec<Share>, descriptors: usize) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let rights = capabilities(None)?.effective;
        Ok(Self {
            shares,
            inodes: Inodes::default(),
            handles: Handles::default(),
            devices: Vec::new(),
            proc: openat(CWD, "/proc/self/fd", flags, Mode::empty())?,
            most: descriptors.saturating_sub(RESERVE),
            clears_bits: rights.contains(CapabilitySet::FSETID),
        })
    }

    /// Does one operation. `data` is what comes with a WRITE, and takes what a READ gives.
    pub fn serve(
        &mut self,
        header: &Header,
        operation: Operation<'_>,
        data: &Data<'_>,
    ) -> Result<Reply, Errno> {
        let node = header.node;
        match operation {
            Operation::Init {
                major,
                readahead,
                features,
            } => return self.begin(major, readahead, features),
            Operation::Destroy => self.forget_all(),
            Operation::Forget(forgotten) => {
                let inodes = &mut self.inodes;
                forgotten
                    .into_iter()
                    .for_each(|(node, count)| inodes.forget(node, count));
                return Ok(Reply::Nothing);
            }
            Operation::Interrupt => return Ok(Reply::Nothing),
            Operation::GetAttributes { handle } => return self.get_attributes(node, handle),
            Operation::SetAttributes(changes) => return self.set_attributes(node, &changes),
            Operation::FileSystem => return self.describe_file_system(node),
            Operation::SyncFileSystem => self.sync_file_systems()?,
            Operation::SetXattr { name, value, flags } => {
                self.set_xattr(node, name, value, flags)?;
            }
            Operation::GetXattr { name, size } => return self.get_xattr(node, name, size),
            Operation::ListXattr { size } => return self.list_xattrs(node, size),
            Operation::RemoveXattr { name } => self.remove_xattr(node, name)?,
            Operation::Open { .. }
            | Operation::OpenDirectory
            | Operation::Read { .. }
            | Operation::Write { .. }
            | Operation::Release { .. }
            | Operation::Sync { .. }
            | Operation::Allocate { .. }
            | Operation::Seek { .. }
            | Operation::Copy(_)
            | Operation::ReadDirectory { .. } => return self.serve_open(node, operation, data),
            Operation::Unknown => return Err(Errno::NOSYS),
            of_names => return self.serve_names(header, of_names),
        }
        Ok(DONE)
    }

    /// INIT: what both sides can do. A guest that begins again knows nothing any more.
    fn begin(&mut self, major: u32, readahead: u32, features: u32) -> Result<Reply, Errno> {
        self.forget_all();
        if major < MAJOR {
            return Err(Errno::PROTO);
        }
        let answer = Answer::default()
            .u32(MAJOR)
            .u32(MINOR)
            .u32(readahead)
            .u32(features & feature::WANTED)
            .u16(MAX_BACKGROUND)
            .u16(CONGESTION_THRESHOLD)
            .u32(MAX_WRITE)
            // Times have nanoseconds.
            .u32(1)
            .u16(MAX_PAGES)
            .u16(0);
        // Of the rest nothing was asked for.
        Ok(answer.bytes(&[0; 32]).into())
    }

    fn forget_all(&mut self) {
        self.inodes = Inodes::default();
        self.handles = Handles::default();
    }

    /// Whether one more descriptor may be used; ENFILE if not. One guest does not take all that the
    /// process has.
    pub(super) fn admit(&self) -> Result<(), Errno> {
        if self.inodes.len() + self.handles.len() < self.most {
            Ok(())
        } else {
            Err(Errno::NFILE)
        }
    }

    /// How long the guest may believe a name, seconds. Where it knows much already it may not at all: then
    /// Linux forgets the name as soon as it does not use it, and what it stands for here.
    pub(super) fn name_validity(&self) -> u64 {
        let used = self.inodes.len() + self.handles.len();
        if used < self.most / 2 { VALID } else { 0 }
    }

    /// Directory `node`; the root is none.
    pub(super) fn directory(&self, node: u64) -> Result<Arc<Inode>, Errno> {
        if node == ROOT {
            return Err(Errno::ACCESS);
        }
        let inode = self.inodes.get(node)?;
        if inode.is_directory() {
            Ok(inode)
        } else {
            Err(Errno::NOTDIR)
        }
    }

    /// Directory `node`, in which something will be changed.
    pub(super) fn writable_directory(&self, node: u64) -> Result<Arc<Inode>, Errno> {
        let inode = self.directory(node)?;
        self.check_writable(&inode).map(|()| inode)
    }

    /// EROFS for what is in a read-only share.
    pub(super) fn check_writable(&self, inode: &Inode) -> Result<(), Errno> {
        if self.share(inode)?.read_only {
            Err(Errno::ROFS)
        } else {
            Ok(())
        }
    }

    /// The share of an inode.
    pub(super) fn share(&self, inode: &Inode) -> Result<&Share, Errno> {
        self.shares.get(inode.share).ok_or(Errno::STALE)
    }

    /// Whose the share's files are.
    pub(super) fn owners(&self, inode: &Inode) -> Result<Owners, Errno> {
        Ok(self.share(inode)?.owners)
    }

    /// The entry `name` of a directory, as a descriptor that is good for nothing but naming it. A link
    /// is not followed.
    pub(super) fn find(&self, parent: &Inode, name: &CStr) -> Result<(Arc<Inode>, Stat), Errno> {
        self.admit()?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&parent.fd, name, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok((Arc::new(Inode::new(parent.share, fd, &stat)), stat))
    }

    /// Opens an inode again. Only files and directories: to open anything else does something.
    pub(super) fn reopen(&self, inode: &Inode, flags: OFlags) -> Result<OwnedFd, Errno> {
        if !inode.is_file() && !inode.is_directory() {
            return Err(Errno::OPNOTSUPP);
        }
        self.admit()?;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        openat(&self.proc, name_of(inode), flags, Mode::empty())
    }

    /// Where an inode is found by calls that know no descriptors: below [`Server::proc`].
    pub(super) fn proc(&self) -> &OwnedFd {
        &self.proc
    }
}

/// An inode's name in `/proc/self/fd`.
pub(super) fn name_of(inode: &Inode) -> String {
    inode.fd.as_raw_fd().to_string()
}
