//! The device: what it is to its driver, and its thread.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};

use super::cable::Cable;
use crate::devices::virtio::chain::broken;
use crate::devices::virtio::device::{Active, Device, Kind};
use crate::net::Peer;
use crate::sys::lock::lock;

/// Receive and transmit. The driver fills the first before it says a word.
const QUEUES: [u16; 2] = [256, 256];

/// Feature bits (virtio 1.2, 5.1.3): the driver may leave checksums to us; it takes unfinished ones; frames may
/// take several buffers. Its address and the longest packet the guest hears from init, so there is no configuration to read.
const F_CSUM: u64 = 1;
const F_GUEST_CSUM: u64 = 1 << 1;
const F_MRG_RXBUF: u64 = 1 << 15;

/// What the thread is told, and what it says.
#[derive(Debug, Default)]
struct Orders {
    stop: bool,
    /// How the driver broke the protocol.
    broken: Option<io::Error>,
}

/// Where they meet.
#[derive(Debug)]
struct Desk {
    orders: Mutex<Orders>,
    /// Readable when the thread has something to do.
    wake: OwnedFd,
    /// Readable when the thread has given up.
    gave_up: OwnedFd,
}

/// The network device.
pub struct Net {
    desk: Arc<Desk>,
    /// While no thread has it.
    cable: Option<Cable>,
    thread: Option<JoinHandle<(Active, Cable)>>,
}

impl Net {
    /// A device with `peer` at the other end of its cable.
    pub fn new(peer: Box<dyn Peer>) -> io::Result<Self> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        Ok(Self {
            desk: Arc::new(Desk {
                orders: Mutex::default(),
                wake: eventfd(0, flags)?,
                gave_up: eventfd(0, flags)?,
            }),
            cable: Some(Cable::new(peer)),
            thread: None,
        })
    }
}

impl Device for Net {
    fn kind(&self) -> Kind {
        Kind::Network
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES
    }

    fn features(&self) -> u64 {
        F_CSUM | F_GUEST_CSUM | F_MRG_RXBUF
    }

    fn activate(&mut self, active: Active, features: u64) -> io::Result<()> {
        let Some(mut cable) = self.cable.take() else {
            return Err(broken("a driver that begins twice"));
        };
        cable.finishes = features & F_GUEST_CSUM != 0;
        cable.merges = features & F_MRG_RXBUF != 0;
        *lock(&self.desk.orders) = Orders::default();
        let desk = Arc::clone(&self.desk);
        let thread = Builder::new()
            .name("net".to_owned())
            .spawn(move || desk.serve(active, cable))?;
        self.thread = Some(thread);
        Ok(())
    }

    fn stop(&mut self) -> Option<Active> {
        let thread = self.thread.take()?;
        lock(&self.desk.orders).stop = true;
        signal(&self.desk.wake);
        // A thread that panicked has ended the process.
        let (active, cable) = thread.join().ok()?;
        self.cable = Some(cable);
        Some(active)
    }

    fn notify(&mut self, _queue: u16) -> io::Result<()> {
        signal(&self.desk.wake);
        Ok(())
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.desk.gave_up.as_fd())
    }

    fn poll(&mut self) -> io::Result<()> {
        clear(&self.desk.gave_up);
        lock(&self.desk.orders).broken.take().map_or(Ok(()), Err)
    }
}

impl Desk {
    /// What the thread does.
    fn serve(&self, mut active: Active, mut cable: Cable) -> (Active, Cable) {
        if let Err(error) = self.move_frames(&mut active, &mut cable) {
            lock(&self.orders).broken = Some(error);
            signal(&self.gave_up);
        }
        cable.put_back(&mut active);
        (active, cable)
    }

    fn move_frames(&self, active: &mut Active, cable: &mut Cable) -> io::Result<()> {
        loop {
            cable.run(active)?;
            self.wait(cable)?;
            if lock(&self.orders).stop {
                return Ok(());
            }
        }
    }

    /// Waits for the driver, or for the peer. While a frame waits for buffers, the host's sockets wait.
    fn wait(&self, cable: &mut Cable) -> io::Result<()> {
        // The peer's time does not come before the driver's: nothing would be done with it.
        let patience = (!cable.is_stuck()).then(|| cable.peer.patience()).flatten();
        let patience = patience.map(timespec);
        let source = cable.peer.source();
        let mut both = [
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::from_borrowed_fd(source, PollFlags::IN),
        ];
        let watched = if cable.is_stuck() {
            &mut both[..1]
        } else {
            &mut both
        };
        match poll(watched, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        clear(&self.wake);
        if cable.is_stuck() {
            return Ok(());
        }
        cable.peer.poll()
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

fn signal(event: &OwnedFd) {
    // A full counter is readable, too.
    let _full = write(event, &1u64.to_ne_bytes());
}

fn clear(event: &OwnedFd) {
    // Empty when it was seen before.
    let _empty = read(event, &mut [0; 8]);
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("desk", &self.desk)
            .field("runs", &self.thread.is_some())
            .finish_non_exhaustive()
    }
}
