//! A shared folder or file, and whose its files are.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Stat, fstat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::inodes::Inode;
use super::ownership::Ids;

/// Whose files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owners {
    /// Users.
    pub users: Ids,
    /// Groups.
    pub groups: Ids,
}

impl Owners {
    /// Files of this process's user and group are those of `uid` and `gid` in the guest. Every other
    /// id is itself if this process is root, else nobody.
    pub fn new(uid: u32, gid: u32) -> Self {
        let all = geteuid().is_root();
        let ids = |host, guest| Ids { host, guest, all };
        Self {
            users: ids(geteuid().as_raw(), uid),
            groups: ids(getegid().as_raw(), gid),
        }
    }

    /// Whose a file is on the host that this user of the guest makes.
    pub fn maker(&self, uid: u32, gid: u32) -> (u32, u32) {
        (
            self.users.resolve(uid).unwrap_or(self.users.host),
            self.groups.resolve(gid).unwrap_or(self.groups.host),
        )
    }
}

/// What a device shares.
#[derive(Debug, Clone)]
pub struct Share {
    /// The folder or file.
    pub(super) root: Arc<Inode>,
    /// Whether the guest may not change anything.
    pub(super) read_only: bool,
    /// Whose its files are.
    pub(super) owners: Owners,
}

impl Share {
    /// Shares `root`, share number `number` of its device: an open directory or regular file, `O_PATH` is
    /// enough. Anything else is EINVAL: a device or a pipe is nothing to share.
    pub fn new(
        number: usize,
        root: OwnedFd,
        read_only: bool,
        owners: Owners,
    ) -> Result<Self, Errno> {
        let stat: Stat = fstat(root.as_fd())?;
        let root = Inode::new(number, root, &stat);
        if !root.is_directory() && !root.is_file() {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            root: Arc::new(root),
            read_only,
            owners,
        })
    }
}
