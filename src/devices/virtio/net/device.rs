//! The device: what it is to its driver, and its thread.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};

use super::wire::Wire;
use crate::devices::virtio::chain::broken;
use crate::devices::virtio::device::{Active, Device, Kind};
use crate::sys::lock::lock;

/// Receive and transmit. The driver fills the first before it says a word.
pub const QUEUES: [u16; 2] = [256, 256];

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
    /// Readable when the thread has something to do: the driver calls by it, too, for either queue. It finds out for
    /// which faster than who would tell it.
    wake: OwnedFd,
    /// Readable when the thread has given up.
    gave_up: OwnedFd,
}

/// The network device. Its address and the longest packet the guest hears from init, so there is no configuration to
/// read.
pub struct Net<W> {
    /// What its thread is called.
    name: &'static str,
    desk: Arc<Desk>,
    features: u64,
    /// While no thread has it.
    wire: Option<W>,
    thread: Option<JoinHandle<(Active, W)>>,
}

impl<W: Wire> Net<W> {
    /// A device at this end of `wire`.
    pub fn new(wire: W) -> io::Result<Self> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        Ok(Self {
            name: "net",
            desk: Arc::new(Desk {
                orders: Mutex::default(),
                wake: eventfd(0, flags)?,
                gave_up: eventfd(0, flags)?,
            }),
            features: wire.features(),
            wire: Some(wire),
            thread: None,
        })
    }

    /// The same, its thread called `name`.
    pub fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

/// Has a device's thread look at what its peer has to do, from any thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Desk>);

impl Waker {
    /// Wakes it, if the driver has begun; it looks when it begins.
    pub fn wake(&self) {
        self.0.wake();
    }
}

impl<W: Wire> Net<W> {
    /// What wakes its thread.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.desk))
    }
}

impl<W: Wire> Device for Net<W> {
    fn kind(&self) -> Kind {
        Kind::Network
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn activate(&mut self, active: Active, features: u64) -> io::Result<()> {
        let Some(mut wire) = self.wire.take() else {
            return Err(broken("a driver that begins twice"));
        };
        wire.begin(features, &active.mem)?;
        *lock(&self.desk.orders) = Orders::default();
        let desk = Arc::clone(&self.desk);
        let thread = Builder::new()
            .name(self.name.to_owned())
            .spawn(move || desk.serve(active, wire))?;
        self.thread = Some(thread);
        Ok(())
    }

    fn stop(&mut self) -> Option<Active> {
        let thread = self.thread.take()?;
        lock(&self.desk.orders).stop = true;
        self.desk.wake();
        // A thread that panicked has ended the process.
        let (active, wire) = thread.join().ok()?;
        self.wire = Some(wire);
        Some(active)
    }

    fn call(&self, _queue: u16) -> Option<BorrowedFd<'_>> {
        Some(self.desk.wake.as_fd())
    }

    fn notify(&mut self, _queue: u16) -> io::Result<()> {
        self.desk.wake();
        Ok(())
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.desk.gave_up.as_fd())
    }

    fn poll(&mut self) -> io::Result<()> {
        // Empty when it was seen before.
        let _empty = read(&self.desk.gave_up, &mut [0; 8]);
        lock(&self.desk.orders).broken.take().map_or(Ok(()), Err)
    }
}

impl Desk {
    fn wake(&self) {
        // A full counter is readable, too.
        let _full = write(&self.wake, &1u64.to_ne_bytes());
    }

    /// What the thread does.
    fn serve<W: Wire>(&self, mut active: Active, mut wire: W) -> (Active, W) {
        if let Err(error) = self.move_frames(&mut active, &mut wire) {
            lock(&self.orders).broken = Some(error);
            // A full counter is readable, too.
            let _full = write(&self.gave_up, &1u64.to_ne_bytes());
        }
        wire.put_back(&mut active);
        (active, wire)
    }

    fn move_frames(&self, active: &mut Active, wire: &mut impl Wire) -> io::Result<()> {
        loop {
            wire.run(active)?;
            self.wait(wire)?;
            if lock(&self.orders).stop {
                return Ok(());
            }
        }
    }

    /// Waits for the driver, or for the other end. While a frame waits for buffers, what comes from there waits.
    fn wait(&self, wire: &mut impl Wire) -> io::Result<()> {
        // The other end's time does not come before the driver's: nothing would be done with it.
        let listens = wire.listens();
        let patience = listens.then(|| wire.patience()).flatten();
        let patience = patience.map(timespec);
        let source = wire.source();
        let mut both = [
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::from_borrowed_fd(source, PollFlags::IN),
        ];
        let watched = if listens {
            &mut both[..]
        } else {
            &mut both[..1]
        };
        match poll(watched, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [has_call, is_readable] = both.map(|one| !one.revents().is_empty());
        if has_call {
            // Empty when it was seen before.
            let _empty = read(&self.wake, &mut [0; 8]);
        }
        match listens {
            true => wire.poll(is_readable),
            false => Ok(()),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

impl<W> fmt::Debug for Net<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("desk", &self.desk)
            .field("runs", &self.thread.is_some())
            .finish_non_exhaustive()
    }
}
