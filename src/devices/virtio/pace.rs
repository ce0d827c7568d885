//! How fast the disks of a machine may be used: bytes and requests a second, read and written, all disks together.
//!
//! A request goes whole as soon as its buckets ([`crate::bucket`]) have anything, and they owe the rest. So a rate
//! holds on average, whatever the size of the requests, and no request waits for ever.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::bucket::Bucket;
use crate::spec::{DeviceRate, DeviceRates};
use crate::sys::lock::lock;

/// Least bytes that a bucket holds: a block.
const BLOCK: u64 = 4096;

/// Which way a request moves bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the disk.
    Read,
    /// To the disk.
    Write,
}

/// What one request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Which way.
    pub way: Way,
    /// How many bytes.
    pub bytes: u64,
}

/// The pace; it may change at any time.
#[derive(Debug)]
pub struct Pace {
    limits: Mutex<[Limits; 2]>,
    /// Whether there are any: looked at for each request of a disk that nobody bounds.
    is_bounded: AtomicBool,
}

/// What bounds one way.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    bytes: Option<Bucket>,
    operations: Option<Bucket>,
}

impl Pace {
    /// As `rates` say, with full buckets.
    pub fn new(rates: &DeviceRates, now: Instant) -> Self {
        Self {
            limits: Mutex::new(limits(rates, now)),
            is_bounded: AtomicBool::new(!rates.is_empty()),
        }
    }

    /// From now on as `rates` say; what was owed is forgotten.
    pub fn set(&self, rates: &DeviceRates, now: Instant) {
        *lock(&self.limits) = limits(rates, now);
        self.is_bounded.store(!rates.is_empty(), Ordering::Relaxed);
    }

    /// Whether anything is bounded.
    pub fn is_bounded(&self) -> bool {
        self.is_bounded.load(Ordering::Relaxed)
    }

    /// Takes what a request needs; how long until it may ask again, where that is not there: then nothing
    /// was taken.
    pub fn take(&self, demand: Demand, now: Instant) -> Result<(), Duration> {
        let mut limits = lock(&self.limits);
        let Limits { bytes, operations } = &mut limits[demand.way as usize];
        let counted = [(bytes, demand.bytes), (operations, 1)];
        let mut wanted: Vec<_> = counted
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .filter_map(|(bucket, count)| Some((bucket.as_mut()?, count)))
            .collect();
        let waits = wanted.iter_mut().map(|(bucket, _)| {
            bucket.level(now);
            bucket.patience(now)
        });
        match waits.max() {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                wanted
                    .into_iter()
                    .for_each(|(bucket, count)| bucket.take(count));
                Ok(())
            }
        }
    }
}

fn limits(rates: &DeviceRates, now: Instant) -> [Limits; 2] {
    let bucket = |rate: &Option<DeviceRate>, least| {
        let rate = rate.as_ref();
        rate.map(|one| Bucket::new(one.rate, least, now))
    };
    [
        Limits {
            bytes: bucket(&rates.read_bps, BLOCK),
            operations: bucket(&rates.read_iops, 1),
        },
        Limits {
            bytes: bucket(&rates.write_bps, BLOCK),
            operations: bucket(&rates.write_iops, 1),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(rate: u64) -> Option<DeviceRate> {
        let device = None;
        Some(DeviceRate { device, rate })
    }

    fn demand(way: Way, bytes: u64) -> Demand {
        Demand { way, bytes }
    }

    /// How long one who asks again and again takes for so many requests.
    fn pass(pace: &Pace, count: u32, each: Demand, begun: Instant) -> Duration {
        let mut now = begun;
        for _ in 0..count {
            while let Err(wait) = pace.take(each, now) {
                assert!(!wait.is_zero());
                now += wait;
            }
        }
        now - begun
    }

    #[test]
    fn what_is_not_bounded_does_not_wait() {
        let now = Instant::now();
        let rates = DeviceRates {
            write_bps: rate(1),
            ..DeviceRates::default()
        };
        let pace = Pace::new(&rates, now);
        assert!(pace.is_bounded() && !Pace::new(&DeviceRates::default(), now).is_bounded());
        let reads = pass(&pace, 1000, demand(Way::Read, 1 << 30), now);
        assert_eq!(reads, Duration::ZERO);
        // What moves nothing, as what is discarded, is no bytes.
        assert_eq!(pass(&pace, 1000, demand(Way::Write, 0), now).as_nanos(), 0);
    }

    #[test]
    fn bytes_flow_at_their_rate_however_large_requests_are() {
        let begun = Instant::now();
        for size in [512, 4096, 65_536, 1 << 20] {
            let rates = DeviceRates {
                read_bps: rate(1 << 20),
                ..DeviceRates::default()
            };
            let pace = Pace::new(&rates, begun);
            let count = u32::try_from((8 << 20) / size).unwrap();
            let took = pass(&pace, count, demand(Way::Read, size), begun).as_millis();
            // Less what was there, and what the last one owes.
            let least = 8000 - 250 - u128::from(size) * 1000 / (1 << 20);
            assert!((least..=8100).contains(&took), "{size}: {took}");
        }
    }

    #[test]
    fn requests_are_counted_and_the_slower_bound_holds() {
        let begun = Instant::now();
        let rates = DeviceRates {
            write_bps: rate(1 << 30),
            write_iops: rate(10),
            ..DeviceRates::default()
        };
        let pace = Pace::new(&rates, begun);
        let took = pass(&pace, 52, demand(Way::Write, 512), begun).as_millis();
        assert!((4900..=5100).contains(&took), "{took}");
        // Who was refused by one bucket has taken nothing from the other.
        assert!(pace.take(demand(Way::Write, 1 << 29), begun).is_err());
        let late = begun + Duration::from_secs(60);
        assert_eq!(pace.take(demand(Way::Write, 512), late), Ok(()));
    }

    #[test]
    fn a_change_holds_for_who_waits_already() {
        let now = Instant::now();
        let rates = DeviceRates {
            read_bps: rate(1),
            ..DeviceRates::default()
        };
        let pace = Pace::new(&rates, now);
        pace.take(demand(Way::Read, 1 << 30), now).unwrap();
        let wait = pace.take(demand(Way::Read, 1), now).unwrap_err();
        assert!(wait > Duration::from_secs(1 << 29));
        pace.set(&DeviceRates::default(), now);
        assert_eq!(pace.take(demand(Way::Read, 1), now), Ok(()));
    }
}
