//! Between the container's interface and one of the host's: frames go on as they are, with what of their work is left to
//! whoever can do it last, so that 64 KiB of a stream are one frame.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, writev};

use crate::devices::virtio::net::header::HEADER_LEN;
use crate::net::FRAME_LEN;
use crate::sys::tun::{Offload, set_offload};

/// Frames moved in one direction before the other has its turn.
const TURN: usize = 64;

/// What joins them.
pub struct Joint {
    inner: OwnedFd,
    /// The host's, while it is there: it may be taken away, as a cable may be pulled out.
    outer: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Joint {
    /// Between the cables of the container's interface and of the host's.
    pub fn new(inner: OwnedFd, outer: OwnedFd) -> io::Result<Self> {
        leave_work(inner.as_fd())?;
        leave_work(outer.as_fd())?;
        Ok(Self {
            inner,
            outer: Some(outer),
            // A tag of a virtual LAN may be there, too.
            bytes: vec![0; HEADER_LEN + FRAME_LEN + 4],
        })
    }

    /// Moves frames until `end` is readable or closed, or the container's interface is gone.
    pub fn run(&mut self, end: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            match self.move_frames() {
                // Its namespace ended before whoever made it.
                Err(Errno::BADFD) => return Ok(()),
                moved => moved?,
            }
            if self.wait(end)? {
                return Ok(());
            }
        }
    }

    /// Moves what is there, on either side.
    fn move_frames(&mut self) -> Result<(), Errno> {
        loop {
            let sent = carry(&self.inner, self.outer.as_ref(), &mut self.bytes)?;
            let received = match &self.outer {
                Some(outer) => carry(outer, Some(&self.inner), &mut self.bytes),
                None => Ok(0),
            };
            let received = received.unwrap_or_else(|_gone| {
                self.outer = None;
                0
            });
            if sent < TURN && received < TURN {
                return Ok(());
            }
        }
    }

    /// Waits for either side, or for the end; whether it came.
    fn wait(&self, end: BorrowedFd<'_>) -> io::Result<bool> {
        let both = [Some(&self.inner), self.outer.as_ref()];
        let watched = both.iter().flatten().map(|cable| cable.as_fd());
        let mut entries: Vec<_> = [end]
            .into_iter()
            .chain(watched)
            .map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN))
            .collect();
        match poll(&mut entries, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(!entries[0].revents().is_empty())
    }
}

/// Moves a turn of frames; how many. One that the kernel does not take is lost, and so is what leads nowhere.
fn carry(from: &OwnedFd, to: Option<&OwnedFd>, bytes: &mut [u8]) -> Result<usize, Errno> {
    for count in 0..TURN {
        let len = match read(from, &mut *bytes) {
            Ok(len) => len,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(count),
            Err(errno) => return Err(errno),
        };
        if let Some(to) = to {
            let _lost = writev(to, &[IoSlice::new(&bytes[..len])]);
        }
    }
    Ok(TURN)
}

/// Takes from an interface what its kernel may leave unfinished: the other one finishes it, or leaves it to the next.
fn leave_work(cable: BorrowedFd<'_>) -> io::Result<()> {
    let all = Offload {
        checksums: true,
        tcp4: true,
        tcp6: true,
        congestion: true,
        udp: true,
    };
    // Segments of datagrams are for Linux 6.2.
    set_offload(cable, all).or_else(|_| set_offload(cable, Offload { udp: false, ..all }))
}
