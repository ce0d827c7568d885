//! The device: requests out of two queues, served by a thread of its own, so that a host's slow disk
//! stops no other device.
//!
//! ```text
//!  devices: notify(queue) ──▶ [`Desk`] ──▶ fs: pop, serve, give back, interrupt
//!           poll()        ◀── broken ─────┘ the driver broke the protocol
//!           stop()        ──▶ stop ──────▶  ends after the request in hand, and gives all back
//! ```

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

use super::content::Data;
use super::request::{self, Header};
use super::server::{Reply, Server};
use super::share::Share;
use super::wire::{Answer, IN_HEADER, OUT_HEADER, WRITE_IN, op};
use crate::devices::virtio::chain::{Chain, broken, total};
use crate::devices::virtio::device::{Active, Device, Kind};
use crate::sys::lock::lock;

/// The name by which the guest mounts it.
pub const TAG: &str = "husk";

/// Bytes of the tag in the configuration (5.11.4).
const TAG_LEN: usize = 36;

/// The high-priority queue, which has what is to be forgotten; and one for requests, with room for 1 MiB
/// in pages that lie apart.
const QUEUES: [u16; 2] = [64, 512];

/// Most bytes of a request but for the data of a WRITE: the value of an attribute, and room.
const MAX_REQUEST: usize = 80 << 10;

/// What the device's thread is told.
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

/// The thread, while the device runs.
type Worker = JoinHandle<(Active, Server)>;

/// The file system device.
pub struct Fs {
    desk: Arc<Desk>,
    /// While no thread has it.
    server: Option<Server>,
    worker: Option<Worker>,
}

impl Fs {
    /// A device that shows `shares`, and uses `descriptors` at most.
    pub fn new(shares: Vec<Share>, descriptors: usize) -> io::Result<Self> {
        let desk = Desk {
            orders: Mutex::default(),
            changed: Condvar::new(),
            gave_up: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        };
        Ok(Self {
            desk: Arc::new(desk),
            server: Some(Server::new(shares, descriptors)?),
            worker: None,
        })
    }
}

impl Device for Fs {
    fn kind(&self) -> Kind {
        Kind::FileSystem
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES
    }

    /// `struct virtio_fs_config` (5.11.4): tag, num_request_queues u32.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; TAG_LEN + 4];
        config[..TAG.len()].copy_from_slice(TAG.as_bytes());
        config[TAG_LEN] = 1;
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(config.len());
        for (byte, value) in data.iter_mut().zip(&config[from..]) {
            *byte = *value;
        }
    }

    fn activate(&mut self, active: Active, _features: u64) -> io::Result<()> {
        let Some(server) = self.server.take() else {
            return Err(broken("a driver that begins twice"));
        };
        *lock(&self.desk.orders) = Orders::default();
        let desk = Arc::clone(&self.desk);
        let worker = Builder::new()
            .name("fs".to_owned())
            .spawn(move || work(&desk, active, server))?;
        self.worker = Some(worker);
        Ok(())
    }

    fn stop(&mut self) -> Option<Active> {
        let worker = self.worker.take()?;
        self.desk.tell(|orders| orders.stop = true);
        // A thread that panicked has ended the process.
        let (active, server) = worker.join().ok()?;
        self.server = Some(server);
        Some(active)
    }

    fn notify(&mut self, queue: u16) -> io::Result<()> {
        self.desk.tell(|orders| orders.queues |= 1 << (queue % 32));
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
}

/// What the thread does.
fn work(desk: &Desk, mut active: Active, mut server: Server) -> (Active, Server) {
    while let Some(queues) = desk.wait() {
        let mut numbers = (0..QUEUES.len()).filter(|queue| queues & 1 << queue != 0);
        let served: io::Result<()> =
            numbers.try_for_each(|queue| serve_queue(desk, &mut active, &mut server, queue));
        if let Err(error) = served {
            desk.tell(|orders| orders.broken = Some(error));
            // A full counter is readable, too.
            let _full = write(&desk.gave_up, &1u64.to_ne_bytes());
            break;
        }
    }
    (active, server)
}

fn serve_queue(
    desk: &Desk,
    active: &mut Active,
    server: &mut Server,
    queue: usize,
) -> io::Result<()> {
    loop {
        while let Some(chain) = active.pop(queue)? {
            let written = serve(server, &chain, active)?;
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

/// Serves one request; the bytes written into the chain. What is no request at all is an error.
fn serve(server: &mut Server, chain: &Chain, active: &Active) -> io::Result<usize> {
    let mem = &*active.mem;
    let mut bytes = [0; IN_HEADER];
    chain.read(mem, &mut bytes)?;
    let header = request::parse_header(&bytes).map_err(|_| broken("a request without a header"))?;
    let claimed = usize::try_from(header.len).unwrap_or(usize::MAX);
    if claimed < IN_HEADER || claimed > total(&chain.readable) {
        return Err(broken("a request of another length than it says"));
    }
    let wanted = match header.opcode {
        op::WRITE => claimed.min(IN_HEADER + WRITE_IN),
        _ => claimed,
    };
    if wanted > MAX_REQUEST {
        return Err(broken("a request of more than 80 KiB"));
    }
    let mut whole = vec![0; wanted];
    chain.read(mem, &mut whole)?;
    let data = Data { chain, mem };
    let reply = request::parse(&header, &whole[IN_HEADER..])
        .and_then(|operation| server.serve(&header, operation, &data));
    answer(&header, reply, chain, active)
}

/// Writes the answer: `fuse_out_header`, and what follows it.
fn answer(
    header: &Header,
    reply: Result<Reply, Errno>,
    chain: &Chain,
    active: &Active,
) -> io::Result<usize> {
    let forgets = matches!(header.opcode, op::FORGET | op::BATCH_FORGET | op::INTERRUPT);
    if reply == Ok(Reply::Nothing) || forgets {
        return Ok(0);
    }
    let room = total(&chain.writable).checked_sub(OUT_HEADER);
    let room = room.ok_or_else(|| broken("no room for an answer"))?;
    let (errno, body, len) = match reply {
        Ok(Reply::Bytes(body)) if body.len() > room => (Some(Errno::IO), Vec::new(), 0),
        Ok(Reply::Bytes(body)) => (None, body, 0),
        Ok(Reply::Filled(len)) => (None, Vec::new(), len),
        Ok(Reply::Nothing) => (None, Vec::new(), 0),
        // Too many open files of this process are the guest's, and look like its system's.
        Err(Errno::MFILE) => (Some(Errno::NFILE), Vec::new(), 0),
        Err(errno) => (Some(errno), Vec::new(), 0),
    };
    let len = OUT_HEADER + len.max(body.len());
    let size = u32::try_from(len).map_err(|_| broken("an answer beyond 4 GiB"))?;
    let error = errno.map_or(0, |errno| errno.raw_os_error().wrapping_neg());
    let head = Answer::default()
        .u32(size)
        .u32(error.cast_unsigned())
        .u64(header.unique)
        .bytes(&body);
    chain.write(&active.mem, 0, &head.0)?;
    Ok(len)
}

impl fmt::Debug for Fs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fs")
            .field("desk", &self.desk)
            .field("runs", &self.worker.is_some())
            .finish_non_exhaustive()
    }
}
