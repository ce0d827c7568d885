//! Pseudo-terminals (pty(7), ioctl_tty(2)).

use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{Result, check, file};
use crate::job::Size;

/// A new terminal's master, whose calls do not wait.
pub fn open_master(ptmx: &CStr) -> Result<OwnedFd> {
    let master = file::open(ptmx, libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK, 0)?;
    let unlocked: c_int = 0;
    let unlocked = ptr::from_ref(&unlocked);
    // SAFETY: the request reads one integer, which outlives the call.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, unlocked) })?;
    Ok(master)
}

/// The other end of `master`, wherever its file system is mounted by now, or no longer is.
pub fn open_slave(master: &OwnedFd) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the request takes flags and no memory.
    let slave = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(slave) })
}

/// The terminal's number: its name below /dev/pts.
pub fn number(master: &OwnedFd) -> Result<u32> {
    let mut number = 0;
    let place = ptr::from_mut::<u32>(&mut number);
    // SAFETY: the request writes one unsigned integer.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, place) })?;
    Ok(number)
}

/// Sets the size; where it changes, the foreground processes get SIGWINCH.
pub fn resize(master: &OwnedFd, size: Size) -> Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let size = ptr::from_ref(&size);
    // SAFETY: the request reads one winsize, which outlives the call.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, size) }).map(drop)
}

/// Makes the terminal the controlling one of this process's session, which must have none.
pub fn take_control(terminal: &OwnedFd) -> Result<()> {
    // SAFETY: the request takes an integer: 0 steals from nobody.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}
