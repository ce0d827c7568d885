//! Signals, waited for.

use std::ffi::c_int;
use std::io;

use husk_init::sys::wait::{block, set_of};

/// Signals that are held back until somebody waits for them.
#[derive(Debug)]
pub struct Held(libc::sigset_t);

/// Holds these signals back from now on: PID 1 of a container would not get them otherwise.
pub fn hold(signals: &[c_int]) -> io::Result<Held> {
    let set = set_of(signals);
    block(&set)?;
    Ok(Held(set))
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
