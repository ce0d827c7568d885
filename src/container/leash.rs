//! What ends a container when husk ends first, whatever ended it.

use std::io::{self, PipeWriter, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::cgroups;
use super::error::Error;
use super::root;
use crate::sys::fork::{fork, keep_only};

/// Who is killed may be on the host's disk for as long as this.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// Held by husk; when it is let go of, by whatever end, the container dies.
#[derive(Debug)]
pub struct Leash {
    _ours: PipeWriter,
}

impl Leash {
    /// Puts the container `id`, whose first process is `init`, and which may write to the directory
    /// `disk`, on one: a process that only waits.
    pub fn put(id: &str, init: &OwnedFd, disk: Option<&Path>) -> Result<Self, Error> {
        let (mut end, ours) = io::pipe().map_err(Error::Process)?;
        let wait = || {
            if keep_only(&[end.as_fd(), init.as_fd()]).is_err() {
                return false;
            }
            // The terminal's Ctrl-C is not for it, and neither is its closing.
            let _own_session = rustix::process::setsid();
            let _no_name = rustix::thread::set_name(c"husk-leash");
            // Nothing is ever written: this ends with husk.
            let _ended = end.read(&mut [0]);
            let _dead_already = pidfd_send_signal(init, Signal::KILL);
            // With it dies everybody in its PID namespace, and only then has the last of them written.
            let _dead = poll(&mut [PollFd::new(init, PollFlags::IN)], Some(&PATIENCE));
            cgroups::remove(id);
            root::discard(disk);
            true
        };
        fork(wait).map_err(Error::Process)?;
        Ok(Self { _ours: ours })
    }
}
