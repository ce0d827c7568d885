//! A machine halted whole, from outside: its process stops between two instructions, vCPUs and devices
//! alike, and goes on where it was.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

/// The process of one machine, as somebody in its parent halts it. Its clocks run on meanwhile.
#[derive(Debug)]
pub struct Freezer(OwnedFd);

impl Freezer {
    /// Of the child that `pidfd` refers to.
    pub(super) fn of(pidfd: OwnedFd) -> Self {
        Self(pidfd)
    }

    /// Halts it, and comes back when it stands, or is dead.
    pub fn freeze(&self) -> io::Result<()> {
        pidfd_send_signal(&self.0, Signal::STOP)?;
        // Its end is left to who buries it.
        let stands = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::PidFd(self.0.as_fd()), stands) {
                Err(Errno::INTR) => {}
                waited => return waited.map(drop).map_err(io::Error::from),
            }
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.0, Signal::CONT)?)
    }
}
