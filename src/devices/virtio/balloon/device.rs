//! The device: pages into the balloon and out of it, free pages reported, statistics.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::read;
use rustix::param::page_size;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use vm_memory::GuestAddress;

use super::statistics::{self, available};
use super::target::Situation;
use crate::devices::virtio::chain::{Chain, broken, length, total};
use crate::devices::virtio::device::{Active, Cause, Device, Kind};
use crate::kvm::memory::give_back;

/// The queues, in the order that they have where all of these features are accepted (5.5.2).
const QUEUES: [u16; 4] = [128, 128, 16, 128];
const INFLATE: usize = 0;
const DEFLATE: usize = 1;
const STATISTICS: usize = 2;
const REPORTING: usize = 3;

/// Feature bits (5.5.3).
const F_STATS_VQ: u64 = 1 << 1;
const F_DEFLATE_ON_OOM: u64 = 1 << 2;
const F_REPORTING: u64 = 1 << 5;

/// Bytes of a page of the balloon's, whatever the guest's pages are (5.5.6).
const PAGE: u64 = 4096;

/// Bytes of a page's number, and most of them in a request: Linux sends 256.
const NUMBER: usize = 4;
const MOST_NUMBERS: usize = 4096;

/// How often the guest is asked.
const OFTEN: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// What the process of a machine should hold of the host's memory at most, bytes; it may change.
pub type Reservation = Arc<AtomicU64>;

/// The balloon.
#[derive(Debug)]
pub struct Balloon {
    memory: u64,
    reservation: Reservation,
    active: Option<Active>,
    /// Readable once a second.
    clock: OwnedFd,
    /// The request that waits for an answer until the clock has ticked.
    asked: Option<u16>,
    /// Pages in the balloon, as the driver says; and how many there should be.
    inflated: u64,
    target: u64,
}

impl Balloon {
    /// For a guest of `memory` bytes.
    pub fn new(memory: u64, reservation: Reservation) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self {
            memory,
            reservation,
            active: None,
            clock: timerfd_create(TimerfdClockId::Monotonic, flags)?,
            asked: None,
            inflated: 0,
            target: 0,
        })
    }

    /// Serves what is in a queue.
    fn serve(&mut self, queue: usize) -> io::Result<()> {
        let Some(mut active) = self.active.take() else {
            return Ok(());
        };
        let served = self.serve_all(queue, &mut active);
        self.active = Some(active);
        served
    }

    fn serve_all(&mut self, queue: usize, active: &mut Active) -> io::Result<()> {
        loop {
            while let Some(chain) = active.pop(queue)? {
                match queue {
                    INFLATE => self.inflate(&chain, active)?,
                    DEFLATE => self.deflate(&chain)?,
                    STATISTICS => {
                        self.hear(&chain, active)?;
                        // Given back when the clock ticks: that asks for the next.
                        if let Some(earlier) = self.asked.replace(chain.head) {
                            active.give_back(queue, earlier, 0)?;
                        }
                        continue;
                    }
                    REPORTING => take_free(&chain, active),
                    _ => {}
                }
                active.give_back(queue, chain.head, 0)?;
            }
            if !active.rearm(queue)? {
                return active.interrupt(queue);
            }
        }
    }

    /// Takes pages: neighbours together.
    fn inflate(&mut self, chain: &Chain, active: &Active) -> io::Result<()> {
        let mut numbers = numbers(chain, active)?;
        self.inflated = self.inflated.saturating_add(numbers.len() as u64);
        numbers.sort_unstable();
        let neighbours = numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b));
        for pages in neighbours {
            let start = u64::from(pages[0]) * PAGE;
            // What lies outside of memory is nobody's.
            let _nobodys = give_back(&active.mem, GuestAddress(start), pages.len() * 4096);
        }
        Ok(())
    }

    /// Gives pages back: they are there as soon as they are touched.
    fn deflate(&mut self, chain: &Chain) -> io::Result<()> {
        let count = count(chain)?;
        self.inflated = self.inflated.saturating_sub(count as u64);
        Ok(())
    }

    /// Hears what the guest could spare, and decides.
    fn hear(&mut self, chain: &Chain, active: &Active) -> io::Result<()> {
        let mut bytes = vec![0; total(&chain.readable).min(statistics::MOST)];
        chain.read(&active.mem, &mut bytes)?;
        let Some(available) = available(&bytes) else {
            return Ok(());
        };
        let situation = Situation {
            memory: self.memory,
            inflated: self.inflated.saturating_mul(PAGE),
            resident: resident()?,
            reservation: self.reservation.load(Ordering::Relaxed),
            available,
        };
        let target = situation.target() / PAGE;
        if target != self.target {
            self.target = target;
            active.irq.signal(Cause::Config);
        }
        Ok(())
    }

    fn tick(&self, every: Timespec) -> io::Result<()> {
        let times = Itimerspec {
            it_interval: every,
            it_value: every,
        };
        timerfd_settime(&self.clock, TimerfdTimerFlags::empty(), &times)?;
        Ok(())
    }
}

impl Device for Balloon {
    fn kind(&self) -> Kind {
        Kind::Balloon
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES
    }

    fn features(&self) -> u64 {
        F_STATS_VQ | F_DEFLATE_ON_OOM | F_REPORTING
    }

    /// `struct virtio_balloon_config` (5.5.4): num_pages u32, actual u32.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let word = |pages: u64| u32::try_from(pages).unwrap_or(u32::MAX).to_le_bytes();
        let config = [word(self.target), word(self.inflated)].concat();
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(config.len());
        for (byte, value) in data.iter_mut().zip(&config[from..]) {
            *byte = *value;
        }
    }

    /// A driver that does without one of the queues would have the others elsewhere (5.5.2).
    fn activate(&mut self, active: Active, features: u64) -> io::Result<()> {
        if features & self.features() != self.features() {
            return Err(broken("a driver that does not want all of the balloon"));
        }
        self.active = Some(active);
        (self.asked, self.inflated, self.target) = (None, 0, 0);
        self.tick(OFTEN)
    }

    fn stop(&mut self) -> Option<Active> {
        // A clock that cannot be stopped wakes nobody who is active.
        let _stopped = self.tick(Timespec::default());
        self.active.take()
    }

    fn notify(&mut self, queue: u16) -> io::Result<()> {
        self.serve(queue.into())
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.clock.as_fd())
    }

    /// A second is over: the guest is asked again.
    fn poll(&mut self) -> io::Result<()> {
        // Empty when it was seen before.
        let _empty = read(&self.clock, &mut [0; 8]);
        if let (Some(active), Some(asked)) = (&mut self.active, self.asked.take()) {
            active.give_back(STATISTICS, asked, 0)?;
            active.interrupt(STATISTICS)?;
        }
        Ok(())
    }
}

/// Free pages, as many as there are in each segment, are the host's. What lies outside of memory is nobody's.
fn take_free(chain: &Chain, active: &Active) {
    for segment in &chain.writable {
        let _nobodys = give_back(&active.mem, segment.address, length(*segment));
    }
}

/// How many pages a request names.
fn count(chain: &Chain) -> io::Result<usize> {
    let len = total(&chain.readable);
    match len.is_multiple_of(NUMBER) && len / NUMBER <= MOST_NUMBERS {
        true => Ok(len / NUMBER),
        false => Err(broken("no list of pages")),
    }
}

/// The pages that a request names.
fn numbers(chain: &Chain, active: &Active) -> io::Result<Vec<u32>> {
    let mut bytes = vec![0; count(chain)? * NUMBER];
    chain.read(&active.mem, &mut bytes)?;
    let (numbers, _) = bytes.as_chunks::<NUMBER>();
    Ok(numbers
        .iter()
        .map(|number| u32::from_le_bytes(*number))
        .collect())
}

/// Bytes of the host's memory that this process holds (proc(5), "statm").
fn resident() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    let pages: u64 = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages * page_size() as u64)
}
