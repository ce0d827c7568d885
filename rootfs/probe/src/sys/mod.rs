//! The words to the kernel that std lacks, as safe functions over unsafe bodies. Nothing here measures.

pub mod files;
pub mod memory;
pub mod process;
pub mod signals;
pub mod thread;

use std::ffi::{c_int, c_long};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

/// A return value that is -1 on failure, with the error in errno.
fn check<T: Into<c_long> + Copy>(value: T) -> io::Result<T> {
    if value.into() == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

/// Lets so many clients of `listener` wait until they are let in; the standard library lets 128.
pub fn lengthen_queue(listener: &TcpListener, most: c_int) -> io::Result<()> {
    // SAFETY: it takes a descriptor, which is open, and a number.
    check(unsafe { libc::listen(listener.as_raw_fd(), most) }).map(drop)
}

/// A system call that does nothing; the C library has no say in it.
pub fn getpid() -> c_long {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_getpid) }
}

/// The monotonic clock, by the vDSO where the kernel gives one.
pub fn read_clock() -> io::Result<libc::timespec> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a timespec that outlives the call.
    check(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) })?;
    Ok(now)
}
