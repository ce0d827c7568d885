//! Mounts and roots.

use std::ffi::{CStr, c_int, c_long, c_ulong};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{Result, check};

/// What fsopen(2), fsconfig(2) and fsmount(2) take (linux/mount.h): FSOPEN_CLOEXEC, FSCONFIG_CMD_CREATE, FSMOUNT_CLOEXEC.
const CLOEXEC: c_int = 1;
const CREATE: c_int = 6;

/// `mount(2)`. Without `data` no page of options is copied into the kernel.
pub fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: c_ulong,
    data: Option<&CStr>,
) -> Result<()> {
    let data = data.map_or(ptr::null(), CStr::as_ptr);
    let (source, target, kind) = (source.as_ptr(), target.as_ptr(), kind.as_ptr());
    // SAFETY: the strings are NUL-terminated and outlive the call; `data` may be null.
    check(unsafe { libc::mount(source, target, kind, flags, data.cast()) }).map(drop)
}

/// Mounts a file system without a disk where no path leads to: it is there as long as the descriptor, and for its owner.
#[cold]
pub fn mount_apart(kind: &CStr) -> Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated and outlives the call.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC) })?;
    let fd = context.as_raw_fd();
    let (key, value) = (ptr::null::<u8>(), ptr::null::<u8>());
    // SAFETY: this command takes neither a key nor a value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, CREATE, key, value, 0) })?;
    // SAFETY: no memory is passed.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, fd, CLOEXEC, 0) })
}

fn descriptor(made: c_long) -> Result<OwnedFd> {
    let fd = c_int::try_from(check(made)?).map_err(|_| super::Errno(libc::EBADF))?;
    // SAFETY: the kernel just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes away what is mounted at `target`.
pub fn unmount(target: &CStr) -> Result<()> {
    // SAFETY: `target` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::umount2(target.as_ptr(), 0) }).map(drop)
}

/// Changes the working directory.
pub fn chdir(path: &CStr) -> Result<()> {
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::chdir(path.as_ptr()) }).map(drop)
}

/// Changes the root directory.
pub fn chroot(path: &CStr) -> Result<()> {
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::chroot(path.as_ptr()) }).map(drop)
}

/// Writes every file system's dirty pages.
pub fn sync() {
    // SAFETY: takes nothing, returns nothing, cannot fail.
    unsafe { libc::sync() }
}
