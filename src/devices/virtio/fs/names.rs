//! Names: finding, making, removing and moving them. Each is one entry of a directory that is open.

use std::ffi::CStr;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, linkat, mkdirat, mknodat, openat,
    readlinkat, renameat_with, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::attributes::put_attributes;
use super::handles::Handle;
use super::inodes::Inode;
use super::request::{Header, Operation};
use super::server::{DONE, Reply, Server, name_of};
use super::wire::{Answer, ROOT};
use crate::sys::identity::make_as;

/// How long the guest may believe a name or attributes, seconds: the host may change them any time.
pub(super) const VALID: u64 = 1;

/// Permission bits of a mode.
pub(super) const PERMISSIONS: u32 = 0o7777;

impl Server {
    /// Operations on names.
    pub(super) fn serve_names(
        &mut self,
        header: &Header,
        operation: Operation<'_>,
    ) -> Result<Reply, Errno> {
        let node = header.node;
        match operation {
            Operation::Lookup { name } => self.look_up(node, name),
            Operation::ReadLink => self.read_link(node),
            Operation::MakeLink { name, target } => {
                self.make(header, name, |parent| symlinkat(target, &parent.fd, name))
            }
            Operation::MakeNode { name, mode } => self.make_node(header, name, mode),
            Operation::MakeDirectory { name, mode } => self.make(header, name, |parent| {
                mkdirat(&parent.fd, name, permissions(mode))
            }),
            Operation::Create {
                flags, mode, name, ..
            } => self.create(header, name, flags, mode),
            Operation::Remove { name } => {
                let parent = self.writable_directory(node)?;
                unlinkat(&parent.fd, name, AtFlags::empty()).map(|()| DONE)
            }
            Operation::RemoveDirectory { name } => {
                let parent = self.writable_directory(node)?;
                unlinkat(&parent.fd, name, AtFlags::REMOVEDIR).map(|()| DONE)
            }
            Operation::Rename {
                to,
                flags,
                old,
                new,
            } => self.rename((node, old), (to, new), flags),
            Operation::Link { node: old, name } => self.link(old, node, name),
            _ => Err(Errno::NOSYS),
        }
    }

    fn look_up(&mut self, node: u64, name: &CStr) -> Result<Reply, Errno> {
        if node == ROOT {
            return self.look_up_share(name);
        }
        let parent = self.directory(node)?;
        let (inode, stat) = self.find(&parent, name)?;
        self.tell(inode, &stat)
    }

    /// The root has the shares by their numbers.
    fn look_up_share(&mut self, name: &CStr) -> Result<Reply, Errno> {
        let number = name.to_str().ok().and_then(|name| name.parse().ok());
        let share = number.and_then(|number: usize| self.shares.get(number));
        let inode = Arc::clone(&share.ok_or(Errno::NOENT)?.root);
        let stat = rustix::fs::fstat(&inode.fd)?;
        self.tell(inode, &stat)
    }

    /// `fuse_entry_out`: the number and the attributes of an inode, which now is looked up once more.
    fn tell(&mut self, inode: Arc<Inode>, stat: &Stat) -> Result<Reply, Errno> {
        self.put_entry(Answer::default(), inode, stat)
            .map(Reply::from)
    }

    /// Adds `fuse_entry_out` to an answer.
    pub(super) fn put_entry(
        &mut self,
        answer: Answer,
        inode: Arc<Inode>,
        stat: &Stat,
    ) -> Result<Answer, Errno> {
        let owners = self.owners(&inode)?;
        let number = self.show_number(stat.st_dev, stat.st_ino);
        let (node, valid) = (self.inodes.look_up(inode), self.name_validity());
        // Numbers are not used again, so that there is one generation of each.
        let answer = answer.u64(node).u64(0).u64(valid).u64(VALID).u32(0).u32(0);
        Ok(put_attributes(answer, stat, number, &owners))
    }

    fn read_link(&mut self, node: u64) -> Result<Reply, Errno> {
        let inode = self.inodes.get(node)?;
        if !inode.is_link() {
            return Err(Errno::INVAL);
        }
        let target = readlinkat(&inode.fd, c"", Vec::new())?;
        Ok(Reply::Bytes(target.into_bytes()))
    }

    /// Makes the entry `name` as the guest's user, and tells of it.
    fn make(
        &mut self,
        header: &Header,
        name: &CStr,
        work: impl FnOnce(&Inode) -> Result<(), Errno>,
    ) -> Result<Reply, Errno> {
        let parent = self.writable_directory(header.node)?;
        self.admit()?;
        let (uid, gid) = self.owners(&parent)?.maker(header.uid, header.gid);
        make_as(uid, gid, || work(&parent))?;
        let (inode, stat) = self.find(&parent, name)?;
        self.tell(inode, &stat)
    }

    /// A file, a pipe or a socket. A device would be one of the host's.
    fn make_node(&mut self, header: &Header, name: &CStr, mode: u32) -> Result<Reply, Errno> {
        let kind = FileType::from_raw_mode(mode);
        match kind {
            FileType::RegularFile | FileType::Fifo | FileType::Socket => {
                self.make(header, name, |parent| {
                    mknodat(&parent.fd, name, kind, permissions(mode), 0)
                })
            }
            _ => Err(Errno::PERM),
        }
    }

    /// Makes a file if there is none, and opens it: `fuse_entry_out`, `fuse_open_out`.
    fn create(
        &mut self,
        header: &Header,
        name: &CStr,
        flags: u32,
        mode: u32,
    ) -> Result<Reply, Errno> {
        let parent = self.writable_directory(header.node)?;
        self.admit()?;
        let (uid, gid) = self.owners(&parent)?.maker(header.uid, header.gid);
        let wanted = OFlags::from_bits_retain(flags);
        let own = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = make_as(uid, gid, || {
            openat(
                &parent.fd,
                name,
                super::content::open_flags(flags) | own,
                permissions(mode),
            )
        });
        // What is there already may be anything: it is opened like anything.
        let (inode, stat) = self.find(&parent, name)?;
        let fd = match made {
            Ok(fd) => fd,
            Err(Errno::EXIST) if !wanted.contains(OFlags::EXCL) => {
                self.reopen(&inode, super::content::open_flags(flags))?
            }
            Err(errno) => return Err(errno),
        };
        let share = inode.share;
        let answer = self.put_entry(Answer::default(), inode, &stat)?;
        let handle = self.handles.keep(Handle {
            fd,
            share,
            directory: false,
        });
        Ok(answer.u64(handle).u32(0).u32(0).into())
    }

    fn rename(
        &mut self,
        (old_node, old): (u64, &CStr),
        (new_node, new): (u64, &CStr),
        flags: u32,
    ) -> Result<Reply, Errno> {
        let from = self.writable_directory(old_node)?;
        let to = self.writable_directory(new_node)?;
        if from.share != to.share {
            return Err(Errno::XDEV);
        }
        let flags = RenameFlags::from_bits_retain(flags);
        if !(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE).contains(flags) {
            return Err(Errno::INVAL);
        }
        renameat_with(&from.fd, old, &to.fd, new, flags).map(|()| DONE)
    }

    /// Another name for an inode of the same share.
    fn link(&mut self, old: u64, parent: u64, name: &CStr) -> Result<Reply, Errno> {
        let inode = self.inodes.get(old)?;
        let parent = self.writable_directory(parent)?;
        if inode.share != parent.share {
            return Err(Errno::XDEV);
        }
        if inode.is_directory() {
            return Err(Errno::PERM);
        }
        linkat(
            self.proc(),
            name_of(&inode),
            &parent.fd,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?;
        let stat = rustix::fs::fstat(&inode.fd)?;
        self.tell(inode, &stat)
    }
}

fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & PERMISSIONS)
}
