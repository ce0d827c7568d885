//! A thread of a device's own, for devices whose requests may take as long as the host's disk does: they
//! stop no other device.
//!
//! ```text
//!  devices: notify(queue) ──▶ [`Desk`] ──▶ the thread: pop, serve, give back, interrupt
//!           poll()        ◀── broken ─────┘ the driver broke the protocol
//!           stop()        ──▶ stop ──────▶  ends after the request in hand, and gives all back
//! ```
//!
//! Where there is a pace, a request waits for its turn before it is served. One that waits is still the driver's: it goes
//! back untouched when the device stops. None overtakes another.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};

use super::chain::{Chain, broken};
use super::device::Active;
use super::pace::{Demand, Pace};
use crate::sys::lock::lock;

/// How often who waits for its turn looks whether the pace has changed.
const OFTEN: Duration = Duration::from_millis(100);

/// What serves the requests of a device.
pub trait Serve: Send + 'static {
    /// Serves a request; the bytes written into its chain. What is no request at all is an error.
    fn serve(&mut self, chain: &Chain, active: &Active) -> io::Result<usize>;

    /// What a request takes that is served at a pace; nothing where it goes at once.
    fn demand(&self, _chain: &Chain, _active: &Active) -> io::Result<Option<Demand>> {
        Ok(None)
    }
}

/// What the thread is told.
#[derive(Debug, Default)]
struct Orders {
    /// A bit for each queue that has something.
    queues: u32,
    stop: bool,
    /// How the driver broke the protocol.
    broken: Option<io::Error>,
}

/// Where it is told.
#[derive(Debug)]
struct Desk {
    orders: Mutex<Orders>,
    changed: Condvar,
    /// Readable when the thread has given up.
    gave_up: OwnedFd,
}

/// The thread, and what it serves with.
pub struct Worker<S> {
    name: &'static str,
    desk: Arc<Desk>,
    /// How fast requests are served, where that may be bounded.
    pace: Option<Arc<Pace>>,
    /// While no thread has it.
    server: Option<S>,
    thread: Option<JoinHandle<(Active, S)>>,
}

impl<S: Serve> Worker<S> {
    /// A thread of this name, once there is something to serve.
    pub fn new(name: &'static str, server: S) -> io::Result<Self> {
        let desk = Desk {
            orders: Mutex::default(),
            changed: Condvar::new(),
            gave_up: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        };
        Ok(Self {
            name,
            desk: Arc::new(desk),
            pace: None,
            server: Some(server),
            thread: None,
        })
    }

    /// The same, at this pace.
    pub fn at(self, pace: Arc<Pace>) -> Self {
        Self {
            pace: Some(pace),
            ..self
        }
    }

    /// Begins.
    pub fn activate(&mut self, active: Active) -> io::Result<()> {
        let Some(server) = self.server.take() else {
            return Err(broken("a driver that begins twice"));
        };
        *lock(&self.desk.orders) = Orders::default();
        let (desk, pace) = (Arc::clone(&self.desk), self.pace.clone());
        let thread = Builder::new()
            .name(self.name.to_owned())
            .spawn(move || work(&desk, pace.as_deref(), active, server))?;
        self.thread = Some(thread);
        Ok(())
    }

    /// Ends after the request in hand; `None` when it was not running.
    pub fn stop(&mut self) -> Option<Active> {
        let thread = self.thread.take()?;
        self.desk.tell(|orders| orders.stop = true);
        // A thread that panicked has ended the process.
        let (active, server) = thread.join().ok()?;
        self.server = Some(server);
        Some(active)
    }

    /// Queue number `queue` has something.
    pub fn notify(&self, queue: u16) {
        self.desk.tell(|orders| orders.queues |= 1 << (queue % 32));
    }

    /// Readable when the thread has given up.
    pub fn source(&self) -> BorrowedFd<'_> {
        self.desk.gave_up.as_fd()
    }

    /// Why the thread has given up, if it has.
    pub fn poll(&self) -> io::Result<()> {
        // Empty when it was seen before.
        let _empty = read(&self.desk.gave_up, &mut [0; 8]);
        lock(&self.desk.orders).broken.take().map_or(Ok(()), Err)
    }
}

impl Desk {
    fn tell(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut lock(&self.orders));
        self.changed.notify_one();
    }

    /// Waits for queues to have something; `None` when it is time to stop.
    fn wait(&self) -> Option<u32> {
        let mut orders = lock(&self.orders);
        loop {
            if orders.stop {
                return None;
            }
            if orders.queues != 0 {
                return Some(std::mem::take(&mut orders.queues));
            }
            orders = self
                .changed
                .wait(orders)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_stopping(&self) -> bool {
        lock(&self.orders).stop
    }

    /// Waits until what a request takes is there; false when it is time to stop before that.
    fn wait_for_turn(&self, pace: &Pace, demand: Demand) -> bool {
        let mut orders = lock(&self.orders);
        while !orders.stop {
            let Err(wait) = pace.take(demand, Instant::now()) else {
                return true;
            };
            let waited = self.changed.wait_timeout(orders, wait.min(OFTEN));
            orders = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

/// What the thread does.
fn work<S: Serve>(
    desk: &Desk,
    pace: Option<&Pace>,
    mut active: Active,
    mut server: S,
) -> (Active, S) {
    while let Some(queues) = desk.wait() {
        let mut numbers = (0..active.queues.len()).filter(|queue| queues & 1 << queue != 0);
        let served: io::Result<()> =
            numbers.try_for_each(|queue| serve_queue(desk, pace, &mut active, &mut server, queue));
        if let Err(error) = served {
            desk.tell(|orders| orders.broken = Some(error));
            // A full counter is readable, too.
            let _full = write(&desk.gave_up, &1u64.to_ne_bytes());
            break;
        }
    }
    (active, server)
}

fn serve_queue<S: Serve>(
    desk: &Desk,
    pace: Option<&Pace>,
    active: &mut Active,
    server: &mut S,
    queue: usize,
) -> io::Result<()> {
    loop {
        while let Some(chain) = active.pop(queue)? {
            if let Some(pace) = pace.filter(|pace| pace.is_bounded())
                && let Some(demand) = server.demand(&chain, active)?
                && !desk.wait_for_turn(pace, demand)
            {
                active.unpop(queue);
                return Ok(());
            }
            let written = server.serve(&chain, active)?;
            active.give_back(queue, chain.head, written)?;
            // The next request may take its time.
            active.interrupt(queue)?;
            if desk.is_stopping() {
                return Ok(());
            }
        }
        if !active.rearm(queue)? {
            return Ok(());
        }
    }
}

impl<S> fmt::Debug for Worker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.name)
            .field("desk", &self.desk)
            .field("runs", &self.thread.is_some())
            .finish_non_exhaustive()
    }
}
