//! What files hold: opening them, and bytes between them and guest memory.

use std::os::fd::AsFd;

use rustix::fs::{
    FallocateFlags, OFlags, SeekFrom, copy_file_range, fallocate, fdatasync, fstat, fsync, seek,
};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::handles::Handle;
use super::request::{Operation, Range};
use super::server::{DONE, Reply, Server};
use super::wire::{Answer, IN_HEADER, OUT_HEADER, ROOT, WRITE_IN};
use crate::devices::virtio::chain::{Chain, Segment, length, split, total};
use crate::kvm::transfer;

/// What of an OPEN's flags the host's file is opened with. The guest caches by its own rules, waits by its
/// own, and follows its own links.
const OPEN_FLAGS: OFlags = OFlags::ACCMODE
    .union(OFlags::APPEND)
    .union(OFlags::TRUNC)
    .union(OFlags::SYNC)
    .union(OFlags::DSYNC);

/// FOPEN_KEEP_CACHE: what the guest has read of the file before is good yet.
const KEEP_CACHE: u32 = 1 << 1;

/// Most bytes that one request copies: the guest asks again, and others get their turn.
const MAX_COPY: u64 = 64 << 20;

/// Where the data of a READ or a WRITE are in guest memory.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// The request's buffers.
    pub chain: &'a Chain,
    /// The memory that they are in.
    pub mem: &'a GuestMemoryMmap,
}

/// The flags by which the host's file is opened.
pub(super) fn open_flags(flags: u32) -> OFlags {
    OFlags::from_bits_retain(flags) & OPEN_FLAGS
}

impl Server {
    /// Operations on what is open, or will be.
    pub(super) fn serve_open(
        &mut self,
        node: u64,
        operation: Operation<'_>,
        data: &Data<'_>,
    ) -> Result<Reply, Errno> {
        match operation {
            Operation::Open { flags, kill } => return self.open(node, flags, kill),
            Operation::OpenDirectory => return self.open_directory(node),
            Operation::Read {
                handle,
                offset,
                size,
            } => return self.read(handle, offset, size, data),
            Operation::Write {
                handle,
                offset,
                size,
                kill,
            } => {
                let written = self.write(handle, offset, size, data)?;
                if kill {
                    self.clear_bits(&*self.inodes.get(node)?)?;
                }
                return Ok(Answer::default().u32(written).u32(0).into());
            }
            Operation::Release { handle } => self.handles.close(handle)?,
            Operation::Sync { handle, data_only } => {
                let handle = self.handles.any(handle)?;
                let sync = if data_only { fdatasync } else { fsync };
                sync(handle.fd.as_fd())?;
            }
            Operation::Allocate {
                handle,
                offset,
                len,
                mode,
            } => {
                let mode = FallocateFlags::from_bits(mode).ok_or(Errno::OPNOTSUPP)?;
                fallocate(&self.handles.file(handle)?.fd, mode, offset, len)?;
            }
            Operation::Seek {
                handle,
                offset,
                whence,
            } => return self.seek(handle, offset, whence),
            Operation::Copy(range) => return self.copy(range),
            Operation::ReadDirectory {
                handle,
                offset,
                size,
                attributes,
            } => return self.read_directory(node, handle, (offset, size), attributes),
            _ => return Err(Errno::NOSYS),
        }
        Ok(DONE)
    }

    /// `fuse_open_out`.
    fn open(&mut self, node: u64, flags: u32, kill: bool) -> Result<Reply, Errno> {
        let inode = self.inodes.get(node)?;
        let flags = open_flags(flags);
        if !inode.is_file() {
            return Err(if inode.is_directory() {
                Errno::ISDIR
            } else {
                Errno::OPNOTSUPP
            });
        }
        let writes = flags & OFlags::ACCMODE != OFlags::RDONLY || flags.contains(OFlags::TRUNC);
        if writes {
            self.check_writable(&inode)?;
        }
        let fd = self.reopen(&inode, flags)?;
        let now = clock_gettime(ClockId::RealtimeCoarse).tv_sec;
        let kept = inode.is_unchanged(&fstat(&fd)?, now);
        if kill {
            self.clear_bits(&inode)?;
        }
        let handle = Handle {
            fd,
            share: inode.share,
            directory: false,
        };
        Ok(self.keep(handle, if kept { KEEP_CACHE } else { 0 }))
    }

    fn open_directory(&mut self, node: u64) -> Result<Reply, Errno> {
        let inode = self.directory(node)?;
        let fd = self.reopen(&inode, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let handle = Handle {
            fd,
            share: inode.share,
            directory: true,
        };
        Ok(self.keep(handle, 0))
    }

    fn keep(&mut self, handle: Handle, flags: u32) -> Reply {
        let number = self.handles.keep(handle);
        Answer::default().u64(number).u32(flags).u32(0).into()
    }

    fn read(&self, handle: u64, offset: u64, size: u32, data: &Data<'_>) -> Result<Reply, Errno> {
        let handle = self.handles.file(handle)?;
        let into = stretches(&data.chain.writable, OUT_HEADER, size)?;
        let read = transfer::read_at(data.mem, handle.fd.as_fd(), offset, &into);
        Ok(Reply::Filled(read.map_err(|error| errno(&error))?))
    }

    fn write(&self, handle: u64, offset: u64, size: u32, data: &Data<'_>) -> Result<u32, Errno> {
        let handle = self.handles.file(handle)?;
        let from = stretches(&data.chain.readable, IN_HEADER + WRITE_IN, size)?;
        let written = transfer::write_at(data.mem, handle.fd.as_fd(), offset, &from);
        let written = written.map_err(|error| errno(&error))?;
        u32::try_from(written).map_err(|_| Errno::INVAL)
    }

    /// Where data or a hole begins; other places the guest knows by itself.
    fn seek(&self, handle: u64, offset: u64, whence: u32) -> Result<Reply, Errno> {
        let handle = self.handles.file(handle)?;
        let to = match i32::try_from(whence).map_err(|_| Errno::INVAL)? {
            libc::SEEK_DATA => SeekFrom::Data(offset),
            libc::SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        let found = seek(&handle.fd, to)?;
        Ok(Answer::default().u64(found).into())
    }

    fn copy(&self, range: Range) -> Result<Reply, Errno> {
        let (from, mut from_at) = (self.handles.file(range.from.0)?, range.from.1);
        let (to, mut to_at) = (self.handles.file(range.to.0)?, range.to.1);
        let len = usize::try_from(range.len.min(MAX_COPY)).map_err(|_| Errno::INVAL)?;
        let copied = copy_file_range(&from.fd, Some(&mut from_at), &to.fd, Some(&mut to_at), len)?;
        let copied = u32::try_from(copied).map_err(|_| Errno::INVAL)?;
        Ok(Answer::default().u32(copied).u32(0).into())
    }

    /// The share of what is open is the share of what it was opened by.
    pub(super) fn opened_in(&self, node: u64, handle: &Handle) -> Result<(), Errno> {
        if node == ROOT || self.inodes.get(node)?.share != handle.share {
            return Err(Errno::BADF);
        }
        Ok(())
    }
}

/// Stretches of guest memory: at most `size` bytes of `segments` from `offset` on.
fn stretches(
    segments: &[Segment],
    offset: usize,
    size: u32,
) -> Result<Vec<(GuestAddress, usize)>, Errno> {
    let size = usize::try_from(size).map_err(|_| Errno::INVAL)?;
    let room = total(segments).saturating_sub(offset);
    if size > room {
        return Err(Errno::INVAL);
    }
    let parts = split(segments, offset, size).map_err(|_| Errno::INVAL)?;
    Ok(parts
        .into_iter()
        .map(|part| (part.address, length(part)))
        .collect())
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::INVAL)
}
