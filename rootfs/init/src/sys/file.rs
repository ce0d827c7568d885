//! Files, directories, pipes.

use std::ffi::{CStr, c_int, c_uint};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{Result, check, count};

/// Opens a file; close-on-exec always.
pub fn open(path: &CStr, flags: c_int, mode: libc::mode_t) -> Result<OwnedFd> {
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) };
    let fd = check(fd)?;
    // SAFETY: the kernel just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads once.
pub fn read(from: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is writable for its whole length.
    count(unsafe { libc::read(from.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// Writes once.
pub fn write(to: &OwnedFd, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the bytes are readable for their whole length.
    count(unsafe { libc::write(to.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

/// Moves up to `limit` bytes between a pipe and something else, without waiting for the pipe.
pub fn splice(from: &OwnedFd, to: &OwnedFd, limit: usize) -> Result<usize> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    // SAFETY: null offsets are allowed for descriptors that cannot seek; no memory is passed.
    count(unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), limit, flags) })
}

/// A pipe: (read end, write end).
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the array has room for the two descriptors the kernel writes.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the kernel just made this descriptor, so nobody else owns it.
    let reader = unsafe { OwnedFd::from_raw_fd(ends[0]) };
    // SAFETY: the kernel just made this descriptor, so nobody else owns it.
    let writer = unsafe { OwnedFd::from_raw_fd(ends[1]) };
    Ok((reader, writer))
}

/// Whether calls on `fd` wait.
pub fn set_blocking(fd: &OwnedFd, blocking: bool) -> Result<()> {
    let flags = if blocking { 0 } else { libc::O_NONBLOCK };
    // SAFETY: F_SETFL takes an integer.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) }).map(drop)
}

/// Gives an open file to a user.
pub fn give_to(fd: &OwnedFd, uid: libc::uid_t) -> Result<()> {
    // SAFETY: no memory is passed; the group -1 stays what it is.
    check(unsafe { libc::fchown(fd.as_raw_fd(), uid, libc::gid_t::MAX) }).map(drop)
}

/// Makes a directory.
pub fn mkdir(path: &CStr, mode: libc::mode_t) -> Result<()> {
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::mkdir(path.as_ptr(), mode) }).map(drop)
}

/// Makes a character device with the permissions rw-rw-rw-.
pub fn make_device(path: &CStr, major: c_uint, minor: c_uint) -> Result<()> {
    let mode = libc::S_IFCHR | 0o666;
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::mknod(path.as_ptr(), mode, libc::makedev(major, minor)) }).map(drop)
}

/// Makes a block device that only its owner reads and writes.
pub fn make_disk(path: &CStr, device: libc::dev_t) -> Result<()> {
    let mode = libc::S_IFBLK | 0o600;
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::mknod(path.as_ptr(), mode, device) }).map(drop)
}

/// Makes a symbolic link at `path`.
pub fn symlink(target: &CStr, path: &CStr) -> Result<()> {
    // SAFETY: both are NUL-terminated strings that outlive the call.
    check(unsafe { libc::symlink(target.as_ptr(), path.as_ptr()) }).map(drop)
}

/// Removes a name.
pub fn unlink(path: &CStr) -> Result<()> {
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::unlink(path.as_ptr()) }).map(drop)
}

/// Removes an empty directory.
pub fn rmdir(path: &CStr) -> Result<()> {
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::rmdir(path.as_ptr()) }).map(drop)
}

/// Owner, permissions and device of what `path` names, links followed.
pub fn stat(path: &CStr) -> Result<libc::stat> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `path` is NUL-terminated and the kernel fills the whole structure.
    check(unsafe { libc::stat(path.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: the call above succeeded, so the structure is filled.
    Ok(unsafe { stat.assume_init() })
}

/// Changes the owner.
pub fn chown(path: &CStr, uid: libc::uid_t, gid: libc::gid_t) -> Result<()> {
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::chown(path.as_ptr(), uid, gid) }).map(drop)
}

/// Changes the permissions.
pub fn chmod(path: &CStr, mode: libc::mode_t) -> Result<()> {
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::chmod(path.as_ptr(), mode) }).map(drop)
}
