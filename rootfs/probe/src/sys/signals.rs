//! Signals, waited for.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Signals that are held back until somebody waits for them.
#[derive(Debug)]
pub struct Held(libc::sigset_t);

/// Holds these signals back from now on: PID 1 of a container would not get them otherwise.
pub fn hold(signals: &[c_int]) -> io::Result<Held> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset fills the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set was filled above.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: the set is a filled set of signals.
        unsafe { libc::sigaddset(&mut set, *signal) };
    }
    // SAFETY: `set` is a filled set; no old set is asked for.
    match unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut()) } {
        0 => Ok(Held(set)),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Held {
    /// Waits for one of them, without computing.
    pub fn wait(&self) -> io::Result<c_int> {
        let mut number = 0;
        // SAFETY: the set is a filled set, and the kernel writes one integer.
        match unsafe { libc::sigwait(&self.0, &mut number) } {
            0 => Ok(number),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}
