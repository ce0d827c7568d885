//! Parts of a processor: a vCPU that has used its share of a period waits for the next one.
//!
//! This host's kernel counts and interrupts (a timer on the thread's processor time), so it needs no rights and
//! no control groups, and holds whatever the guest does. The devices' threads are not counted.
//!
//! The share may change while the vCPU runs: whoever changes it interrupts the thread until that has seen it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::spec::Cpus;
use crate::sys::cpu_timer::{CpuTimer, Interrupted};
use crate::sys::lock::lock;

/// The kernel's own for groups: short enough that a guest does not notice, long enough to cost nothing.
const PERIOD: Duration = Duration::from_millis(100);

/// When an interruption comes just before the vCPU is entered, it is missed; then the next one comes after
/// so much more.
const AGAIN: Duration = Duration::from_millis(2);

/// So often is a vCPU interrupted for it to see its new share; a host that does not let it run in all that time lets it
/// use nothing either.
const TRIES: u32 = 1000;

/// How much each vCPU of a machine may use of a period.
#[derive(Debug, Default)]
pub struct Allowance {
    /// Microseconds; 0 is all of it.
    share: AtomicU64,
    /// The threads that it binds, each with the share that it has seen.
    bound: Mutex<Vec<(Interrupted, Arc<AtomicU64>)>>,
}

/// What bounds the vCPU of the thread that made it.
#[derive(Debug)]
pub struct Throttle {
    allowance: Arc<Allowance>,
    /// Microseconds, as this thread has them.
    seen: Arc<AtomicU64>,
    /// Where it was ever bounded.
    timer: Option<CpuTimer>,
    since: Instant,
}

impl Allowance {
    /// That of a machine which has `cpus`, as many as it takes.
    pub fn new(cpus: Cpus) -> Self {
        let share = AtomicU64::new(share(cpus, cpus.count()));
        Self {
            share,
            ..Self::default()
        }
    }

    /// From now on each of `count` vCPUs may use its part of `cpus`. Comes back when they know.
    pub fn set(&self, cpus: Cpus, count: u32) -> io::Result<()> {
        let share = share(cpus, count);
        self.share.store(share, Ordering::SeqCst);
        let bound = lock(&self.bound);
        let mut unaware: Vec<_> = bound.iter().collect();
        for _ in 0..TRIES {
            unaware.retain(|(_, seen)| seen.load(Ordering::SeqCst) != share);
            if unaware.is_empty() {
                break;
            }
            unaware
                .iter()
                .try_for_each(|(thread, _)| thread.interrupt())?;
            sleep(AGAIN);
        }
        Ok(())
    }
}

/// Microseconds of a period for each of `count`; 0 is all of it.
fn share(cpus: Cpus, count: u32) -> u64 {
    let period = u64::try_from(PERIOD.as_micros()).unwrap_or(u64::MAX);
    let each = cpus.of_all(period) / u64::from(count.max(1));
    match each >= period {
        true => 0,
        // Less than a microsecond would be none.
        false => each.max(1),
    }
}

impl Throttle {
    /// For a vCPU that runs on this thread.
    pub fn new(allowance: Arc<Allowance>) -> io::Result<Self> {
        let mut throttle = Self {
            seen: Arc::default(),
            timer: None,
            since: Instant::now(),
            allowance,
        };
        let bound = (Interrupted::this_thread(), Arc::clone(&throttle.seen));
        lock(&throttle.allowance.bound).push(bound);
        throttle.heed()?;
        Ok(throttle)
    }

    /// The vCPU was interrupted: its share is another, or used up, and then it waits for the next period.
    pub fn heed(&mut self) -> io::Result<()> {
        let share = self.allowance.share.load(Ordering::SeqCst);
        if self.seen.load(Ordering::SeqCst) != share {
            self.seen.store(share, Ordering::SeqCst);
        } else if share > 0 {
            sleep(PERIOD.saturating_sub(self.since.elapsed()));
        }
        self.since = Instant::now();
        match (share, &self.timer) {
            (0, None) => Ok(()),
            // Nothing at all disarms it.
            (0, Some(timer)) => timer.arm(Duration::ZERO, Duration::ZERO),
            (share, Some(timer)) => timer.arm(Duration::from_micros(share), AGAIN),
            (share, None) => {
                let timer = self.timer.insert(CpuTimer::of_this_thread()?);
                timer.arm(Duration::from_micros(share), AGAIN)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::channel;

    use super::*;

    fn cpus(text: &str) -> Cpus {
        Cpus::parse(text).unwrap()
    }

    #[test]
    fn shares_are_parts_of_a_period() {
        for (text, count, expected) in [
            ("1", 1, 0),
            ("0.5", 1, 50_000),
            ("1", 2, 50_000),
            ("1.5", 2, 75_000),
            ("2", 2, 0),
            ("4", 2, 0),
            ("0.01", 200, 5),
        ] {
            assert_eq!(share(cpus(text), count), expected, "{text} of {count}");
        }
    }

    #[test]
    fn a_thread_that_waits_in_a_call_hears_of_its_new_share() {
        let allowance = Arc::new(Allowance::new(cpus("1")));
        let (theirs, over) = (Arc::clone(&allowance), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&over);
        let (began, begun) = channel();
        let thread = std::thread::spawn(move || {
            let mut throttle = Throttle::new(theirs).unwrap();
            began.send(()).unwrap();
            while !ends.load(Ordering::SeqCst) {
                // As in KVM_RUN: it comes back when it is interrupted.
                rustix::event::poll(&mut [], None).unwrap_err();
                throttle.heed().unwrap();
            }
            throttle.seen.load(Ordering::SeqCst)
        });
        begun.recv().unwrap();
        allowance.set(cpus("0.5"), 1).unwrap();
        let seen = |allowance: &Allowance| {
            let bound = lock(&allowance.bound);
            bound[0].1.load(Ordering::SeqCst)
        };
        assert_eq!(seen(&allowance), 50_000);
        allowance.set(cpus("1"), 1).unwrap();
        assert_eq!(seen(&allowance), 0);
        over.store(true, Ordering::SeqCst);
        allowance.set(cpus("0.25"), 1).unwrap();
        assert_eq!(thread.join().unwrap(), 25_000);
    }
}
