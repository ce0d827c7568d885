//! Parts of a processor: a vCPU that has used its share of a period waits for the next one.
//!
//! This host's kernel counts and interrupts (a timer on the thread's processor time), so it needs no rights and
//! no control groups, and holds whatever the guest does. The devices' threads are not counted.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::spec::Cpus;
use crate::sys::cpu_timer::CpuTimer;

/// The kernel's own for groups: short enough that a guest does not notice, long enough to cost nothing.
const PERIOD: Duration = Duration::from_millis(100);

/// When an interruption comes just before the vCPU is entered, it is missed; then the next one comes after
/// so much more.
const AGAIN: Duration = Duration::from_millis(2);

/// What bounds the vCPU of the thread that made it.
#[derive(Debug)]
pub struct Throttle {
    timer: CpuTimer,
    budget: Duration,
    since: Instant,
}

impl Throttle {
    /// For a vCPU of a machine that has `cpus`; none where it may use a whole processor.
    pub fn new(cpus: Cpus) -> io::Result<Option<Self>> {
        let period = u64::try_from(PERIOD.as_micros()).unwrap_or(u64::MAX);
        let Some(share) = cpus.share_of(period) else {
            return Ok(None);
        };
        let throttle = Self {
            timer: CpuTimer::of_this_thread()?,
            budget: Duration::from_micros(share),
            since: Instant::now(),
        };
        throttle.timer.arm(throttle.budget, AGAIN)?;
        Ok(Some(throttle))
    }

    /// The share is used up: waits for the next period.
    pub fn rest(&mut self) -> io::Result<()> {
        sleep(PERIOD.saturating_sub(self.since.elapsed()));
        self.since = Instant::now();
        self.timer.arm(self.budget, AGAIN)
    }
}
