//! What ends a container when husk ends first, whatever ended it, and however far it was.
//!
//! ```text
//!  husk run                            the leash
//!    ├── put ────────────────────────────▶ │   before there is anybody to be held
//!    ├── makes the container               │   its makers are copies of husk, and end by themselves without it
//!    ├── tie + its first process ────────▶ │   before the workload's own code
//!    ╳ ── the connection's end, or husk's ▶├── kills, and clears away
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::cgroups;
use super::error::Error;
use super::root;
use crate::sys::fork::{fork, keep_only};
use crate::sys::seqpacket::Seqpacket;

/// Who is killed may be on the host's disk for as long as this.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// Held by husk; when it is let go of, by whatever end, the container dies.
#[derive(Debug)]
pub struct Leash(Seqpacket);

impl Leash {
    /// Makes one for the container `id`, which is about to be made by this process and its copies, and may write
    /// to the directory `disk`: a process that only waits.
    pub fn put(id: &str, disk: Option<&Path>) -> Result<Self, Error> {
        let put = || {
            let (ours, theirs) = Seqpacket::pair()?;
            let husk = pidfd_open(getpid(), PidfdFlags::empty())?;
            let wait = || {
                if keep_only(&[theirs.as_fd(), husk.as_fd()]).is_err() {
                    return false;
                }
                // The terminal's Ctrl-C is not for it, and neither is its closing.
                let _own_session = rustix::process::setsid();
                let _no_name = rustix::thread::set_name(c"husk-leash");
                match watch(&theirs, &husk) {
                    Some(init) => kill(&init),
                    None => outlive_copies(&theirs),
                }
                cgroups::remove(id);
                root::discard(disk);
                true
            };
            fork(wait)?;
            Ok(Self(ours))
        };
        put().map_err(Error::Process)
    }

    /// Ties the container's first process to it.
    pub fn tie(&self, init: &OwnedFd) -> Result<(), Error> {
        let tied = self.0.send(b"init", &[init.as_fd()]);
        tied.map_err(Error::Process)
    }
}

/// Waits until it is let go of; the first process, if one was tied to it. Copies of husk have the connection open,
/// too, so husk's own end is waited for beside the connection's.
fn watch(connection: &Seqpacket, husk: &OwnedFd) -> Option<OwnedFd> {
    let mut init = None;
    loop {
        let mut entries = [
            PollFd::new(connection, PollFlags::IN),
            PollFd::new(husk, PollFlags::IN),
        ];
        match poll(&mut entries, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return init,
            Ok(_) => {}
        }
        // What was said before the end is heard before it.
        if entries[0].revents().is_empty() {
            return init;
        }
        match connection.receive() {
            Ok(Some(message)) => init = message.files.into_iter().next(),
            Ok(None) | Err(_) => return init,
        }
    }
}

/// Ends a container that is made: with its first process dies everybody in its PID namespace, and only then has the
/// last of them written.
fn kill(init: &OwnedFd) {
    let _dead_already = pidfd_send_signal(init, Signal::KILL);
    let _dead = poll(&mut [PollFd::new(init, PollFlags::IN)], Some(&PATIENCE));
}

/// Waits until whoever was making it is gone: then nobody has the connection any more.
fn outlive_copies(connection: &Seqpacket) {
    let _gone = poll(
        &mut [PollFd::new(connection, PollFlags::IN)],
        Some(&PATIENCE),
    );
}
