//! A token bucket: so much a second, and what was not taken is kept for a quarter of one.
//!
//! ```text
//!  level:  least ◀── owes ── 0 ── has ──▶ most
//!               take(n): n less      time: rate more a second, up to most
//! ```
//!
//! Who takes more than there is leaves a debt, which those who come later wait for.

use std::time::{Duration, Instant};

/// Nanoseconds of a second.
const SECOND: u128 = 1_000_000_000;

/// Parts of a second for which a bucket holds; and for which who waits is let wait at least, so that it does not take
/// one by one.
const HOLDS: u64 = 4;
const SIP: u64 = 50;

/// Tokens: bytes, or operations.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Tokens a second, and how many are kept.
    rate: u64,
    most: u64,
    /// Tokens in it; less than none when some are owed.
    level: i64,
    /// Until when it was filled.
    filled: Instant,
}

impl Bucket {
    /// A full one, of `rate` tokens a second, which keeps `least` of them however slow it is.
    pub fn new(rate: u64, least: u64, now: Instant) -> Self {
        let rate = rate.max(1);
        let most = (rate / HOLDS).clamp(least.max(1), i64::MAX as u64);
        Self {
            rate,
            most,
            level: i64::try_from(most).unwrap_or(i64::MAX),
            filled: now,
        }
    }

    /// Tokens that are in it now.
    pub fn level(&mut self, now: Instant) -> u64 {
        self.fill(now);
        u64::try_from(self.level).unwrap_or(0)
    }

    /// Takes so many, whether they are there or not.
    pub fn take(&mut self, count: u64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.level = self.level.saturating_sub(count);
    }

    /// How long until there is a sip in it, as full as it was when it was filled last.
    pub fn patience(&self, now: Instant) -> Duration {
        let sip = i64::try_from((self.rate / SIP).max(1)).unwrap_or(i64::MAX);
        if self.level >= sip {
            return Duration::ZERO;
        }
        let missing = u128::from(sip.saturating_sub(self.level).unsigned_abs());
        let wait = (missing * SECOND).div_ceil(u128::from(self.rate));
        let wait = Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX));
        // A debt of years is none that anybody waits for to its end.
        let until = self.filled.checked_add(wait).unwrap_or(now);
        until.saturating_duration_since(now)
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_nanos();
        let came = passed * u128::from(self.rate) / SECOND;
        let most = i128::from(self.most);
        let level = i128::from(self.level) + i128::try_from(came).unwrap_or(most);
        if level >= most {
            self.level = i64::try_from(most).unwrap_or(i64::MAX);
            self.filled = now;
        } else {
            self.level = i64::try_from(level).unwrap_or(i64::MAX);
            // What is less than a token counts the next time.
            let took = came * SECOND / u128::from(self.rate);
            self.filled += Duration::from_nanos(u64::try_from(took).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_at_its_rate_and_no_further() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(1 << 20, 1, begun);
        let full = 1 << 18;
        assert_eq!(bucket.level(begun), full);
        bucket.take(full);
        assert_eq!(bucket.level(begun), 0);
        let wait = bucket.patience(begun);
        assert_eq!(wait.as_millis(), 19, "a fiftieth of a second's worth");
        assert_eq!(bucket.level(begun + wait), (1 << 20) / 50);
        assert_eq!(bucket.patience(begun + wait), Duration::ZERO);
        assert_eq!(bucket.level(begun + Duration::from_secs(1000)), full);
    }

    #[test]
    fn a_slow_one_holds_what_it_must() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(1, 1, begun);
        assert_eq!(bucket.level(begun), 1);
        bucket.take(1);
        assert_eq!(bucket.patience(begun), Duration::from_secs(1));
        assert_eq!(bucket.level(begun + Duration::from_millis(999)), 0);
        assert_eq!(bucket.level(begun + Duration::from_secs(1)), 1);
        assert_eq!(bucket.level(begun + Duration::from_secs(9)), 1);
        assert_eq!(Bucket::new(10_000, 1500, begun).level(begun), 2500);
        assert_eq!(Bucket::new(100, 1500, begun).level(begun), 1500);
    }

    #[test]
    fn what_is_owed_is_waited_for() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(1000, 1, begun);
        bucket.take(10_250);
        // Ten seconds, and a fiftieth.
        assert_eq!(bucket.patience(begun).as_millis(), 10_020);
        assert_eq!(bucket.level(begun + Duration::from_secs(9)), 0);
        bucket.take(u64::MAX);
        bucket.take(u64::MAX);
        assert!(bucket.patience(begun) > Duration::from_secs(1 << 30));
    }

    #[test]
    fn parts_of_a_token_are_not_lost() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(3, 1, begun);
        let (mut taken, mut now) = (0, begun);
        while now < begun + Duration::from_secs(10) {
            let level = bucket.level(now);
            bucket.take(level);
            taken += level;
            now += Duration::from_millis(7);
        }
        assert!((29..=31).contains(&taken), "{taken}");
    }
}
