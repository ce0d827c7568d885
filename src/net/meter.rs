//! How much may flow: so many bytes a second each way, and so many in all.
//!
//! Two buckets ([`crate::bucket`]) fill at the rate; what flows is taken out. A stream takes what is there and waits for
//! more; a datagram goes whole if there is anything, and the bucket owes the rest.

use std::time::{Duration, Instant};

use super::flows::Moved;
use crate::bucket::Bucket;
use crate::spec::NetLimits;

/// Least bytes that a bucket holds: a packet of the world's.
const LEAST: u64 = 1500;

/// What may flow.
#[derive(Debug, Default)]
pub struct Meter {
    /// To the far ends, and from there.
    buckets: Option<[Bucket; 2]>,
    /// Bytes that are left of all.
    left: Option<u64>,
}

impl Meter {
    /// Within `limits`.
    pub fn new(limits: &NetLimits, now: Instant) -> Self {
        Self {
            buckets: limits.rate.map(|rate| [Bucket::new(rate, LEAST, now); 2]),
            left: limits.bytes,
        }
    }

    /// What one of `sharers` may move now.
    pub fn share(&mut self, sharers: usize, now: Instant) -> Moved {
        let left = self.left.map_or(usize::MAX, to_usize);
        let [sent, received] = match &mut self.buckets {
            None => [usize::MAX; 2],
            Some(buckets) => buckets
                .each_mut()
                .map(|bucket| to_usize(bucket.level(now)).div_ceil(sharers.max(1))),
        };
        Moved {
            sent: sent.min(left),
            received: received.min(left),
        }
    }

    /// So much was moved.
    pub fn spend(&mut self, moved: Moved) {
        let spent = [moved.sent, moved.received];
        if let Some(buckets) = &mut self.buckets {
            for (bucket, spent) in buckets.iter_mut().zip(spent) {
                bucket.take(spent as u64);
            }
        }
        if let Some(left) = &mut self.left {
            let spent = spent.iter().map(|count| *count as u64).sum();
            *left = left.saturating_sub(spent);
        }
    }

    /// Whether nothing may flow any more.
    pub fn is_spent(&self) -> bool {
        self.left == Some(0)
    }

    /// How long who found too little waits: `way` 0 is to the far ends, 1 from there.
    pub fn patience(&self, way: usize, now: Instant) -> Duration {
        let buckets = self.buckets.as_ref();
        let bucket = buckets.and_then(|buckets| buckets.get(way));
        bucket.map_or(Duration::ZERO, |bucket| bucket.patience(now))
    }
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(sent: usize, received: usize) -> Moved {
        Moved { sent, received }
    }

    fn meter(rate: Option<u64>, bytes: Option<u64>, now: Instant) -> Meter {
        let limits = NetLimits {
            rate,
            bytes,
            ..NetLimits::default()
        };
        Meter::new(&limits, now)
    }

    #[test]
    fn without_limits_everything_may_flow() {
        let now = Instant::now();
        let mut meter = meter(None, None, now);
        meter.spend(moved(1 << 40, 1 << 40));
        assert_eq!(meter.share(7, now), moved(usize::MAX, usize::MAX));
        assert!(!meter.is_spent());
    }

    #[test]
    fn a_bucket_fills_at_its_rate_and_no_further() {
        let begun = Instant::now();
        let mut meter = meter(Some(1 << 20), None, begun);
        let full = 1 << 18;
        assert_eq!(meter.share(1, begun), moved(full, full));
        assert_eq!(meter.share(4, begun), moved(full / 4, full / 4));
        meter.spend(moved(full, 10));
        assert_eq!(meter.share(1, begun), moved(0, full - 10));
        let wait = meter.patience(0, begun);
        assert_eq!(wait.as_millis(), 19, "a fiftieth of a second's worth");
        let later = begun + wait;
        assert_eq!(meter.share(1, later), moved((1 << 20) / 50, full));
        assert_eq!(meter.patience(0, later), Duration::ZERO);
        let late = begun + Duration::from_secs(1000);
        assert_eq!(meter.share(1, late), moved(full, full));
    }

    #[test]
    fn no_more_than_the_rate_flows_however_it_is_asked_for() {
        let begun = Instant::now();
        for step in [7, 1_000_003, 200_000_000] {
            let mut meter = meter(Some(10_000), None, begun);
            let (mut flowed, mut now) = (0, begun);
            while now < begun + Duration::from_secs(3) {
                let share = meter.share(1, now);
                meter.spend(moved(share.sent, 0));
                flowed += share.sent;
                now += Duration::from_nanos(step.max(100_000));
            }
            assert!((29_000..=32_600).contains(&flowed), "{step}: {flowed}");
        }
    }

    #[test]
    fn what_is_owed_is_waited_for() {
        let begun = Instant::now();
        let mut meter = meter(Some(1000), None, begun);
        meter.spend(moved(0, 11_500));
        assert_eq!(meter.share(1, begun), moved(1500, 0));
        // Ten seconds, and a fiftieth.
        assert_eq!(meter.patience(1, begun).as_millis(), 10_020);
        let later = begun + Duration::from_secs(9);
        assert_eq!(meter.share(1, later).received, 0);
        meter.spend(moved(usize::MAX, usize::MAX));
        assert_eq!(meter.share(1, later), moved(0, 0));
        assert!(meter.patience(1, later) > Duration::from_secs(1 << 30));
    }

    #[test]
    fn when_all_is_spent_nothing_flows() {
        let now = Instant::now();
        let mut meter = meter(Some(1 << 30), Some(100), now);
        assert_eq!(meter.share(1, now), moved(100, 100));
        meter.spend(moved(30, 60));
        assert_eq!(meter.share(9, now), moved(10, 10));
        meter.spend(moved(11, 0));
        assert!(meter.is_spent());
        assert_eq!(meter.share(1, now), moved(0, 0));
    }
}
