//! Waiting: poll, signals by descriptor, children.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{Errno, Result, check};

/// An entry that [`poll`] skips.
pub const IDLE: libc::pollfd = libc::pollfd {
    fd: -1,
    events: 0,
    revents: 0,
};

/// An entry for `fd`.
pub fn entry(fd: &OwnedFd, events: i16) -> libc::pollfd {
    libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    }
}

/// Waits until an entry is ready, or for `timeout` milliseconds; -1 is for ever.
pub fn poll(entries: &mut [libc::pollfd], timeout: c_int) -> Result<()> {
    let length = libc::nfds_t::try_from(entries.len()).expect("a handful");
    loop {
        // SAFETY: the entries are readable and writable for their whole length.
        match check(unsafe { libc::poll(entries.as_mut_ptr(), length, timeout) }) {
            Err(Errno(libc::EINTR)) => {}
            answer => return answer.map(drop),
        }
    }
}

/// The set of these signals.
pub fn set_of(signals: &[c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset fills the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set was filled above.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: the set is a filled set of signals.
        unsafe { libc::sigaddset(&mut set, *signal) };
    }
    set
}

/// Holds back exactly these signals.
pub fn block(set: &libc::sigset_t) -> Result<()> {
    // SAFETY: `set` is a filled set; no old set is asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, ptr::null_mut()) }).map(drop)
}

/// A descriptor that is readable while one of the signals is pending.
pub fn signalfd(set: &libc::sigset_t) -> Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: `set` is a filled set; -1 asks for a new descriptor.
    let fd = check(unsafe { libc::signalfd(-1, set, flags) })?;
    // SAFETY: the kernel just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes one dead child without waiting: its id and status, or `None` if all live.
pub fn any_child() -> Result<Option<(libc::pid_t, c_int)>> {
    child(-1, libc::WNOHANG)
}

/// Waits for the next child to die, and buries it: its id and status. ECHILD when there is none.
pub fn next_child() -> Result<(libc::pid_t, c_int)> {
    loop {
        match child(-1, 0) {
            Err(Errno(libc::EINTR)) | Ok(None) => {}
            Ok(Some(dead)) => return Ok(dead),
            Err(error) => return Err(error),
        }
    }
}

/// Takes one signal from a signalfd, so that it is no longer readable.
pub fn take_signal(from: &OwnedFd) {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    // Nothing there is as good as taken.
    let _ = super::file::read(from, &mut info);
}

/// Waits for the child `pid` to be gone.
pub fn gone(pid: libc::pid_t) {
    while child(pid, 0) == Err(Errno(libc::EINTR)) {}
}

fn child(pid: libc::pid_t, flags: c_int) -> Result<Option<(libc::pid_t, c_int)>> {
    let mut status = 0;
    // SAFETY: `status` is an integer for the kernel to fill.
    let pid = check(unsafe { libc::waitpid(pid, &mut status, flags | libc::__WALL) })?;
    Ok((pid > 0).then_some((pid, status)))
}
