//! How long one operation takes: batches of it, as large as makes the clock's own cost vanish, until
//! the budget is over; the median of the batches.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

/// Batches that a budget is to have room for.
const BATCHES: u32 = 20;

/// A batch that was too short to count grows at least and at most so much.
const GROWTH: (u64, u64) = (2, 10);

/// How long a probe measures, and how large its batches may become.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Time to spend, what a batch prepares and takes away included.
    pub budget: Duration,
    /// Most operations of a batch.
    pub most: u64,
}

impl Pace {
    /// Batches of whatever size.
    pub fn free(budget: Duration) -> Self {
        Self {
            budget,
            most: u64::MAX,
        }
    }
}

/// Nanoseconds of one operation. `batch` does as many as it is told, at least one, and says how long
/// they took; the first error ends it.
pub fn measure(pace: Pace, batch: impl FnMut(u64) -> io::Result<Duration>) -> io::Result<f64> {
    let begun = Instant::now();
    measure_by(pace, || begun.elapsed(), batch)
}

/// Nanoseconds of one call of `operation`, which cannot fail.
pub fn time<T>(budget: Duration, mut operation: impl FnMut() -> T) -> io::Result<f64> {
    measure(Pace::free(budget), |count| {
        let begun = Instant::now();
        for _ in 0..count {
            black_box(operation());
        }
        Ok(begun.elapsed())
    })
}

/// Nanoseconds of one call of `operation`, which gets the number of the call, from 0 in each batch.
pub fn try_time(pace: Pace, mut operation: impl FnMut(u64) -> io::Result<()>) -> io::Result<f64> {
    measure(pace, |count| {
        let begun = Instant::now();
        for number in 0..count {
            operation(number)?;
        }
        Ok(begun.elapsed())
    })
}

/// The same by any clock. Batches that are too short are warm-ups, unless there is no time for more.
fn measure_by(
    pace: Pace,
    elapsed: impl Fn() -> Duration,
    mut batch: impl FnMut(u64) -> io::Result<Duration>,
) -> io::Result<f64> {
    let long_enough = pace.budget / BATCHES;
    let mut size = 1;
    let mut samples = Vec::new();
    loop {
        let took = batch(size)?;
        let over = elapsed() >= pace.budget;
        if over || took >= long_enough || size >= pace.most {
            samples.push(nanoseconds(took) / as_float(size));
        } else {
            let missing = long_enough.as_nanos() / took.as_nanos().max(1);
            let growth = u64::try_from(missing).unwrap_or(GROWTH.1);
            let growth = growth.clamp(GROWTH.0, GROWTH.1);
            size = size.saturating_mul(growth).min(pace.most);
        }
        if over {
            return Ok(median(&mut samples));
        }
    }
}

/// The middle of the samples, or of the two in the middle; there is at least one.
fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    if samples.len() % 2 == 1 {
        samples[middle]
    } else {
        f64::midpoint(samples[middle - 1], samples[middle])
    }
}

fn nanoseconds(length: Duration) -> f64 {
    length.as_secs_f64() * 1e9
}

/// Exact up to 2^53, and no batch is larger.
fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    const BUDGET: Duration = Duration::from_millis(200);

    /// Measures an operation that takes `cost` by a clock that nothing else moves; the sizes of its
    /// batches too.
    fn simulate(cost: Duration, most: u64) -> (f64, Vec<u64>) {
        let clock = Cell::new(Duration::ZERO);
        let sizes = RefCell::new(Vec::new());
        let pace = Pace {
            budget: BUDGET,
            most,
        };
        let value = measure_by(
            pace,
            || clock.get(),
            |size| {
                sizes.borrow_mut().push(size);
                let took = cost * u32::try_from(size).unwrap();
                clock.set(clock.get() + took);
                Ok(took)
            },
        );
        (value.unwrap(), sizes.into_inner())
    }

    #[test]
    fn batches_grow_until_the_clock_does_not_matter() {
        let (value, sizes) = simulate(Duration::from_nanos(100), u64::MAX);
        assert!((value - 100.0).abs() < 1e-6, "{value}");
        let largest = *sizes.last().unwrap();
        assert!((100_000..=1_000_000).contains(&largest), "{sizes:?}");
        let counted = sizes.iter().filter(|size| **size == largest).count();
        assert!((5..=25).contains(&counted), "{sizes:?}");
    }

    #[test]
    fn what_takes_longer_than_the_budget_runs_once() {
        let (value, sizes) = simulate(Duration::from_secs(3), u64::MAX);
        assert!((value - 3e9).abs() < 1.0, "{value}");
        assert_eq!(sizes, [1]);
    }

    #[test]
    fn batches_stay_below_their_ceiling() {
        let (_, sizes) = simulate(Duration::from_micros(1), 64);
        assert_eq!(sizes.iter().max(), Some(&64));
        assert!(sizes.len() > 1000, "{}", sizes.len());
    }

    #[test]
    fn time_that_is_not_the_operations_counts_for_the_end_only() {
        let clock = Cell::new(Duration::ZERO);
        let mut batches = 0;
        let value = measure_by(
            Pace::free(BUDGET),
            || clock.get(),
            |size| {
                batches += 1;
                clock.set(clock.get() + Duration::from_millis(150));
                Ok(Duration::from_micros(size))
            },
        );
        assert!((value.unwrap() - 1000.0).abs() < 1e-6);
        assert_eq!(batches, 2);
    }

    #[test]
    fn the_first_error_is_the_answer() {
        let refuse = |_| Err(io::ErrorKind::Unsupported.into());
        let answer = measure(Pace::free(BUDGET), refuse).unwrap_err();
        assert_eq!(answer.kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&mut [3.0]).to_bits(), 3f64.to_bits());
        assert_eq!(median(&mut [9.0, 1.0, 2.0]).to_bits(), 2f64.to_bits());
        assert_eq!(
            median(&mut [4.0, 1.0, 100.0, 2.0]).to_bits(),
            3f64.to_bits()
        );
    }
}
