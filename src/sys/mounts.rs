//! Mounts, before they are anywhere.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct mount_attr` (mount_setattr(2)).
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// MOUNT_ATTR_*: no writes, no devices.
const RDONLY: u64 = 1;
const NODEV: u64 = 4;

/// Has no device in the mount `tree`, nor in any below it, work; and none of them take writes, where
/// `read_only` says so. Needs Linux 5.12.
pub fn restrict(tree: BorrowedFd<'_>, read_only: bool) -> io::Result<()> {
    let attributes = Attributes {
        set: if read_only { NODEV | RDONLY } else { NODEV },
        clear: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    let (fd, size) = (tree.as_raw_fd(), size_of::<Attributes>());
    // SAFETY: the path is an empty string, and the structure has the size that is given.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            &attributes,
            size,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
