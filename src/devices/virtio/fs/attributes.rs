//! Attributes: of inodes, of file systems, and those that have names.

use std::ffi::CStr;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, XattrFlags, chmodat,
    chownat, fstat, fstatvfs, ftruncate, getxattr, listxattr, removexattr, setxattr, syncfs,
    utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::inodes::Inode;
use super::names::{PERMISSIONS, VALID};
use super::request::{Changes, Time};
use super::server::{Reply, Server, name_of};
use super::share::Owners;
use super::wire::{Answer, ROOT};

/// The mode of the root: a directory that nobody writes to.
const ROOT_MODE: u32 = libc::S_IFDIR | 0o555;

/// Longest name of a directory's entry.
const NAME_MAX: u32 = 255;

/// Most bytes of an attribute's value, or of the list of names (XATTR_SIZE_MAX).
const XATTR_MAX: usize = 64 << 10;

/// Attributes that the guest may see and set: users' own, and what a file's program may do.
const USER_XATTRS: &[u8] = b"user.";
const CAPABILITY_XATTR: &[u8] = b"security.capability";

/// Bits by which a program runs as somebody else.
const SET_USER_ID: u32 = libc::S_ISUID;
const SET_GROUP_ID: u32 = libc::S_ISGID | libc::S_IXGRP;

impl Server {
    /// `fuse_attr_out`.
    pub(super) fn get_attributes(
        &mut self,
        node: u64,
        handle: Option<u64>,
    ) -> Result<Reply, Errno> {
        let answer = Answer::default().u64(VALID).u32(0).u32(0);
        if node == ROOT {
            return Ok(put_root(answer).into());
        }
        let inode = self.inodes.get(node)?;
        let stat = match handle {
            Some(handle) => fstat(&self.handles.any(handle)?.fd)?,
            None => fstat(&inode.fd)?,
        };
        let owners = self.owners(&inode)?;
        let number = self.show_number(stat.st_dev, stat.st_ino);
        Ok(put_attributes(answer, &stat, number, &owners).into())
    }

    /// Changes what is to be changed, and answers as GETATTR does.
    pub(super) fn set_attributes(&mut self, node: u64, changes: &Changes) -> Result<Reply, Errno> {
        if node == ROOT {
            return Err(Errno::ROFS);
        }
        let inode = self.inodes.get(node)?;
        self.check_writable(&inode)?;
        if changes.uid.is_some() || changes.gid.is_some() {
            self.change_owner(&inode, changes)?;
        }
        if let Some(size) = changes.size {
            self.truncate(&inode, changes.handle, size)?;
            if changes.kill {
                self.clear_bits(&inode)?;
            }
        }
        if let Some(mode) = changes.mode {
            self.change_mode(&inode, mode)?;
        }
        if changes.accessed.is_some() || changes.modified.is_some() {
            let times = Timestamps {
                last_access: timespec(changes.accessed)?,
                last_modification: timespec(changes.modified)?,
            };
            utimensat(&inode.fd, c"", &times, AtFlags::EMPTY_PATH)?;
        }
        self.get_attributes(node, None)
    }

    /// Gives an inode to somebody. Who is nobody on the host cannot be given anything.
    fn change_owner(&self, inode: &Inode, changes: &Changes) -> Result<(), Errno> {
        let owners = self.owners(inode)?;
        let resolve = |id: Option<u32>, ids: super::ownership::Ids| match id {
            Some(id) => ids.resolve(id).ok_or(Errno::PERM).map(Some),
            None => Ok(None),
        };
        let uid = resolve(changes.uid, owners.users)?.map(Uid::from_raw);
        let gid = resolve(changes.gid, owners.groups)?.map(Gid::from_raw);
        chownat(&inode.fd, c"", uid, gid, AtFlags::EMPTY_PATH)
    }

    fn truncate(&self, inode: &Inode, handle: Option<u64>, size: u64) -> Result<(), Errno> {
        if let Some(handle) = handle {
            return ftruncate(&self.handles.file(handle)?.fd, size);
        }
        if !inode.is_file() {
            return Err(Errno::INVAL);
        }
        ftruncate(self.reopen(inode, OFlags::WRONLY)?, size)
    }

    fn change_mode(&self, inode: &Inode, mode: u32) -> Result<(), Errno> {
        if inode.is_link() {
            return Err(Errno::OPNOTSUPP);
        }
        let mode = Mode::from_raw_mode(mode & PERMISSIONS);
        chmodat(self.proc(), name_of(inode), mode, AtFlags::empty())
    }

    /// Whoever may write to a file does not thereby become its owner: the host does so by itself, but
    /// for root.
    pub(super) fn clear_bits(&self, inode: &Inode) -> Result<(), Errno> {
        if !self.clears_bits || !inode.is_file() {
            return Ok(());
        }
        let mode = fstat(&inode.fd)?.st_mode;
        let mut kept = mode & !SET_USER_ID;
        if mode & SET_GROUP_ID == SET_GROUP_ID {
            kept &= !libc::S_ISGID;
        }
        if kept == mode {
            return Ok(());
        }
        self.change_mode(inode, kept)
    }

    /// `fuse_statfs_out`.
    pub(super) fn describe_file_system(&self, node: u64) -> Result<Reply, Errno> {
        let answer = Answer::default();
        if node == ROOT {
            let answer = answer.bytes(&[0; 40]).u32(4096).u32(NAME_MAX).u32(4096);
            return Ok(answer.bytes(&[0; 28]).into());
        }
        let found = fstatvfs(&self.inodes.get(node)?.fd)?;
        let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let answer = answer
            .u64(found.f_blocks)
            .u64(found.f_bfree)
            .u64(found.f_bavail)
            .u64(found.f_files)
            .u64(found.f_ffree)
            .u32(short(found.f_bsize))
            .u32(short(found.f_namemax))
            .u32(short(found.f_frsize));
        Ok(answer.bytes(&[0; 28]).into())
    }

    /// Has the host write to disk what the guest wrote, wherever it could.
    pub(super) fn sync_file_systems(&self) -> Result<(), Errno> {
        for share in self.shares.iter().filter(|share| !share.read_only) {
            syncfs(self.reopen(&share.root, OFlags::RDONLY)?)?;
        }
        Ok(())
    }

    /// The number of an inode, as the guest sees it: one of the host's device, and all that the host has
    /// mounted on its folders seems to be one device there.
    pub(super) fn show_number(&mut self, device: u64, number: u64) -> u64 {
        let found = self.devices.iter().position(|known| *known == device);
        let index = found.unwrap_or_else(|| {
            self.devices.push(device);
            self.devices.len() - 1
        });
        number ^ ((index as u64) << 48)
    }

    pub(super) fn set_xattr(
        &self,
        node: u64,
        name: &CStr,
        value: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        let inode = self.with_xattrs(node, name)?;
        self.check_writable(&inode)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        setxattr(path_of(&inode), name, value, flags)
    }

    /// The value, or its size where `size` is zero.
    pub(super) fn get_xattr(&self, node: u64, name: &CStr, size: u32) -> Result<Reply, Errno> {
        let inode = self.with_xattrs(node, name)?;
        let mut value = vec![0; XATTR_MAX];
        let len = getxattr(path_of(&inode), name, &mut value[..])?;
        value.truncate(len);
        answer_sized(value, size)
    }

    /// The names that the guest may use, or their size where `size` is zero.
    pub(super) fn list_xattrs(&self, node: u64, size: u32) -> Result<Reply, Errno> {
        let inode = self.inodes.get(node)?;
        if !inode.is_file() && !inode.is_directory() {
            return answer_sized(Vec::new(), size);
        }
        let mut names = vec![0; XATTR_MAX];
        let len = listxattr(path_of(&inode), &mut names[..])?;
        let names = names[..len].split_inclusive(|byte| *byte == 0);
        let shown = names.filter(|name| is_shown(name.strip_suffix(&[0]).unwrap_or(name)));
        answer_sized(shown.collect::<Vec<_>>().concat(), size)
    }

    pub(super) fn remove_xattr(&self, node: u64, name: &CStr) -> Result<(), Errno> {
        let inode = self.with_xattrs(node, name)?;
        self.check_writable(&inode)?;
        removexattr(path_of(&inode), name)
    }

    /// An inode that has named attributes, of which `name` is one that the guest may use.
    fn with_xattrs(&self, node: u64, name: &CStr) -> Result<Arc<Inode>, Errno> {
        if !is_shown(name.to_bytes()) {
            return Err(Errno::OPNOTSUPP);
        }
        let inode = self.inodes.get(node)?;
        if inode.is_file() || inode.is_directory() {
            Ok(inode)
        } else {
            Err(Errno::OPNOTSUPP)
        }
    }
}

fn is_shown(name: &[u8]) -> bool {
    name == CAPABILITY_XATTR || name.starts_with(USER_XATTRS)
}

/// Named attributes are reached by path only: the path of our own descriptor.
fn path_of(inode: &Inode) -> String {
    format!("/proc/self/fd/{}", name_of(inode))
}

fn answer_sized(value: Vec<u8>, size: u32) -> Result<Reply, Errno> {
    let len = u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?;
    match size {
        0 => Ok(Answer::default().u32(len).u32(0).into()),
        size if len > size => Err(Errno::RANGE),
        _ => Ok(Reply::Bytes(value)),
    }
}

fn timespec(time: Option<Time>) -> Result<Timespec, Errno> {
    let (seconds, nanoseconds) = match time {
        None => (0, UTIME_OMIT),
        Some(Time::Now) => (0, UTIME_NOW),
        Some(Time::At(seconds, nanoseconds)) if nanoseconds < 1_000_000_000 => {
            // Before 1970 is a negative number.
            (seconds.cast_signed(), nanoseconds.into())
        }
        Some(Time::At(..)) => return Err(Errno::INVAL),
    };
    Ok(Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    })
}

/// Adds `fuse_attr` to an answer.
pub(super) fn put_attributes(answer: Answer, stat: &Stat, number: u64, owners: &Owners) -> Answer {
    let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    // Sizes and times are signed for the kernel, and never negative where they may not be.
    answer
        .u64(number)
        .u64(stat.st_size.cast_unsigned())
        .u64(stat.st_blocks.cast_unsigned())
        .u64(stat.st_atime.cast_unsigned())
        .u64(stat.st_mtime.cast_unsigned())
        .u64(stat.st_ctime.cast_unsigned())
        .u32(short(stat.st_atime_nsec))
        .u32(short(stat.st_mtime_nsec))
        .u32(short(stat.st_ctime_nsec))
        .u32(stat.st_mode)
        .u32(short(stat.st_nlink))
        .u32(owners.users.show(stat.st_uid))
        .u32(owners.groups.show(stat.st_gid))
        // A device's number: in the guest it is the guest's device, if it is anything.
        .u32(short(stat.st_rdev))
        .u32(short(stat.st_blksize.cast_unsigned()))
        .u32(0)
}

fn put_root(answer: Answer) -> Answer {
    answer
        .u64(ROOT)
        .bytes(&[0; 52])
        .u32(ROOT_MODE)
        .u32(2)
        .bytes(&[0; 20])
}
