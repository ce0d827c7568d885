//! The host's files, shown to the workload: each is cloned where the host has it mounted, with all that is
//! mounted below it, and put into the container's root by descriptor, so that no name of the image's
//! is ever looked up outside of it.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use husk_init::job;
use husk_init::places::Shares;
use husk_init::sys::Errno;
use rustix::fs::{CWD, FileType, fstat};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::error::{Error, root as failed};
use crate::spec::Share;
use crate::sys::mounts;

/// The shares of a container, mounted nowhere yet.
#[derive(Debug)]
pub struct Trees(Vec<OwnedFd>);

impl Trees {
    /// Clones them, while names still mean what they mean to the host.
    pub fn open(shares: &[Share]) -> Result<Self, Error> {
        let trees = shares.iter().map(|share| {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            let tree = open_tree(CWD, &share.path, flags)
                .map_err(|errno| failed("the host's files")(errno.into()))?;
            mounts::restrict(tree.as_fd(), share.read_only)
                .map_err(failed("the host's files, restricted"))?;
            Ok(tree)
        });
        trees.collect::<Result<_, _>>().map(Self)
    }

    fn tree(&self, number: usize) -> Result<&OwnedFd, Errno> {
        self.0.get(number).ok_or(Errno(libc::EBADF))
    }
}

impl Shares for Trees {
    fn is_directory(&self, number: usize) -> Result<bool, Errno> {
        let stat = fstat(self.tree(number)?).map_err(|errno| Errno(errno.raw_os_error()))?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    fn mount(&self, number: usize, _share: &job::Share, target: &CStr) -> Result<(), Errno> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        move_mount(self.tree(number)?, c"", CWD, target, flags)
            .map_err(|errno| Errno(errno.raw_os_error()))
    }
}
