//! Mounts and roots.

use std::ffi::{CStr, c_int, c_long, c_uint, c_ulong};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{Errno, Result, check};

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

/// A file system that is mounted nowhere: who has this reaches it, and nobody else (fsopen(2), Linux 5.2).
#[derive(Debug)]
pub struct Detached {
    /// What it is configured by.
    context: OwnedFd,
    root: OwnedFd,
}

/// `FSCONFIG_*` of linux/mount.h.
const SET_FLAG: c_uint = 0;
const CREATE: c_uint = 6;
const RECONFIGURE: c_uint = 7;

/// `FSOPEN_CLOEXEC` and `FSMOUNT_CLOEXEC` of linux/mount.h.
const CLOEXEC: c_uint = 1;

impl Detached {
    /// The file system of `kind`, without a disk.
    #[cold]
    pub fn new(kind: &CStr) -> Result<Self> {
        // SAFETY: `kind` is a NUL-terminated string that outlives the call.
        let context = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC) };
        let context = adopt(context)?;
        configure(&context, CREATE, None)?;
        // SAFETY: no memory is passed.
        let root = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, 0) };
        let root = adopt(root)?;
        Ok(Self { context, root })
    }

    /// Its root directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether it may be written to, by whom its other mounts let.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let flag = if read_only { c"ro" } else { c"rw" };
        configure(&self.context, SET_FLAG, Some(flag))?;
        configure(&self.context, RECONFIGURE, None)
    }
}

fn configure(context: &OwnedFd, command: c_uint, key: Option<&CStr>) -> Result<()> {
    let (fd, key) = (context.as_raw_fd(), key.map_or(ptr::null(), CStr::as_ptr));
    let value = ptr::null::<u8>();
    // SAFETY: the key is null or a NUL-terminated string that outlives the call; these commands take no value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, command, key, value, 0) }).map(drop)
}

/// A descriptor that a system call returned.
fn adopt(fd: c_long) -> Result<OwnedFd> {
    let fd = c_int::try_from(check(fd)?).map_err(|_| Errno(libc::EBADF))?;
    // SAFETY: the kernel just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
