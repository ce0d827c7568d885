//! Mounts and roots.

use std::ffi::{CStr, c_ulong};
use std::ptr;

use super::{Result, check};

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
