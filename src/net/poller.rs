//! The epoll of a network: which of its sockets have something.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

/// Events taken at once.
const BATCH: usize = 64;

/// What a socket has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Whose it is.
    pub token: u64,
    /// There is something to read: data, an end, or an error.
    pub readable: bool,
    /// It takes more, or never again.
    pub writable: bool,
}

/// An epoll.
#[derive(Debug)]
pub struct Poller(OwnedFd);

impl Poller {
    /// One that watches nothing.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Readable when a socket has become something.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Watches a socket until it is closed: each change is told once.
    pub fn watch(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.0,
            socket,
            EventData::new_u64(token),
            flags,
        )?)
    }

    /// Takes what there is, without waiting; none when that was all.
    pub fn take(&self) -> io::Result<Vec<Ready>> {
        let mut space = [const { MaybeUninit::<Event>::uninit() }; BATCH];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let events = match epoll::wait(&self.0, &mut space, Some(&now)) {
            Ok((events, _)) => &*events,
            Err(Errno::INTR) => &[],
            Err(errno) => return Err(errno.into()),
        };
        let over = EventFlags::ERR | EventFlags::HUP;
        let ready = |event: &Event| {
            // The structure is packed.
            let (flags, data) = (event.flags, event.data);
            Ready {
                token: data.u64(),
                readable: flags.intersects(EventFlags::IN | EventFlags::RDHUP | over),
                writable: flags.intersects(EventFlags::OUT | over),
            }
        };
        Ok(events.iter().map(ready).collect())
    }
}
