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

use super::pages::{self, DEFLATE, F_STATS_VQ, INFLATE, PAGE, STATISTICS};
use super::statistics;
use super::target::Situation;
use crate::devices::virtio::chain::{Chain, broken, length};
use crate::devices::virtio::device::{Active, Cause, Device, Kind};
use crate::kvm::memory::give_back;

/// The queues, in the order that they have where all of these features are accepted (5.5.2).
const QUEUES: [u16; 4] = [128, 128, 16, 128];
const REPORTING: usize = 3;

/// Feature bits (5.5.3).
const F_DEFLATE_ON_OOM: u64 = 1 << 2;
const F_REPORTING: u64 = 1 << 5;

/// How often the guest is asked.
const OFTEN: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// What a balloon works towards, bytes; both may change.
#[derive(Debug)]
pub struct Sizes {
    /// Memory of the guest's.
    pub memory: AtomicU64,
    /// What the process of its machine should hold of the host's memory at most.
    pub reservation: AtomicU64,
}

/// The balloon.
#[derive(Debug)]
pub struct Balloon {
    sizes: Arc<Sizes>,
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
    /// One that works towards `sizes`.
    pub fn new(sizes: Arc<Sizes>) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self {
            sizes,
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
        let served = pages::serve(&mut active, queue, |chain, active| {
            match queue {
                INFLATE => {
                    let pages = pages::take(chain, active)?;
                    self.inflated = self.inflated.saturating_add(pages);
                }
                // They are there as soon as they are touched.
                DEFLATE => {
                    self.inflated = self.inflated.saturating_sub(pages::count(chain)?);
                }
                STATISTICS => {
                    self.decide(chain, active)?;
                    // Until the clock ticks.
                    return pages::keep(&mut self.asked, chain, active);
                }
                REPORTING => take_free(chain, active),
                _ => {}
            }
            Ok(true)
        });
        self.active = Some(active);
        served
    }

    /// Hears what the guest could spare, and decides.
    fn decide(&mut self, chain: &Chain, active: &Active) -> io::Result<()> {
        let Some(available) = statistics::hear(chain, active)? else {
            return Ok(());
        };
        let situation = Situation {
            memory: self.sizes.memory.load(Ordering::Relaxed),
            inflated: self.inflated.saturating_mul(PAGE),
            resident: resident()?,
            reservation: self.sizes.reservation.load(Ordering::Relaxed),
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

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        pages::read_config((self.target, self.inflated), offset, data);
    }

    /// A driver that does without one of the queues would have the others elsewhere (5.5.2).
    fn activate(&mut self, active: Active, features: u64) -> io::Result<()> {
        if features & self.features() != self.features() {
            return Err(broken("a driver that does not want all of the balloon"));
        }
        self.active = Some(active);
        (self.asked, self.inflated, self.target) = (None, 0, 0);
        self.tick(OFTEN)?;
        // Linux calls for its first statistics before it is ready.
        self.serve(STATISTICS)
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
        match &mut self.active {
            Some(active) => pages::ask(&mut self.asked, active),
            None => Ok(()),
        }
    }
}

/// Free pages, as many as there are in each segment, are the host's. What lies outside of memory is nobody's.
fn take_free(chain: &Chain, active: &Active) {
    for segment in &chain.writable {
        let _nobodys = give_back(&active.mem, segment.address, length(*segment));
    }
}

/// Bytes of the host's memory that this process holds (proc(5), "statm").
fn resident() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    let pages: u64 = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages * page_size() as u64)
}
