//! husk's own program, as somebody in a container may come across it: a process on its way into the
//! container is husk's binary, and who can make it execute itself there could write to the file behind
//! `/proc/PID/exe`. Behind a mount that takes no writes, nobody can.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{CWD, fstat};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::sys::mounts;

/// What this process executes.
const ITSELF: &str = "/proc/self/exe";

/// Opens it behind such a mount, which is nowhere. Needs Linux 5.12.
pub fn open() -> io::Result<OwnedFd> {
    let path = fs::read_link(ITSELF)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, &path, flags)?;
    // By its name, because the mount that it was executed from is another namespace's by now.
    let (found, own) = (fstat(&mount)?, fs::metadata(ITSELF)?);
    if (found.st_dev, found.st_ino) != (own.dev(), own.ino()) {
        return Err(io::ErrorKind::StaleNetworkFileHandle.into());
    }
    mounts::restrict(mount.as_fd(), true)?;
    Ok(mount)
}
