//! What the harness adds to what it times: the same short command, by the harness and by the barest
//! means, and the document that each run writes for the harness.
//!
//! The two ways take turns at being the first of a pair, and the host is left alone before each of them: who is
//! second finds caches warm and the processor awake, and that is not the harness's. What counts are the pairs' own
//! differences, since what drifts meets both of a pair: the middle of the two medians, one of either order.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::Error;
use super::interrupt::Interrupt;
use super::launch::{Desk, milliseconds, watch};
use super::statistics::Sample;

/// Pairs whose median counts.
const PAIRS: usize = 40;

/// How long the host is left alone before a run.
const REST: Duration = Duration::from_millis(20);

/// Milliseconds that the harness adds to a run.
pub fn measure(desk: &Desk, interrupt: &Interrupt) -> Result<f64, Error> {
    let added = difference(|| time_by_harness(interrupt), time_barely)?;
    let document = median(
        (0..PAIRS)
            .map(|_| time_document(desk))
            .collect::<Result<_, _>>()?,
    );
    // Less than nothing is as little as can be told.
    Ok(added.max(0.0) + document)
}

/// By how much one way takes longer than the other.
fn difference<E>(
    mut one: impl FnMut() -> Result<f64, E>,
    mut other: impl FnMut() -> Result<f64, E>,
) -> Result<f64, E> {
    let (mut as_first, mut as_second) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS / 2 {
        let first = one()?;
        as_first.push(first - other()?);
        let first = other()?;
        as_second.push(one()? - first);
    }
    Ok(f64::midpoint(median(as_first), median(as_second)))
}

fn median(times: Vec<f64>) -> f64 {
    Sample::of(times).median().unwrap_or_default()
}

fn short() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("--version").process_group(0);
    command
}

fn time_by_harness(interrupt: &Interrupt) -> Result<f64, Error> {
    sleep(REST);
    Ok(milliseconds(watch(short(), interrupt)?.exit))
}

/// Execution and wait, and nothing else.
fn time_barely() -> Result<f64, Error> {
    let mut command = short();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sleep(REST);
    let begun = Instant::now();
    command.status().map_err(Error::Harness)?;
    Ok(milliseconds(begun.elapsed()))
}

/// Writing what a run says of itself for the harness, which it does within its own time.
fn time_document(desk: &Desk) -> Result<f64, Error> {
    /// As long as a machine's: its name, its exit and eight phases.
    const LENGTH: usize = 512;
    let begun = Instant::now();
    desk.leave(&[b' '; LENGTH]).map_err(Error::Harness)?;
    let took = begun.elapsed();
    let _nothing = desk.take();
    Ok(milliseconds(took))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn who_is_second_of_a_pair_and_what_drifts_make_no_difference() {
        let runs = Cell::new(0u32);
        // Seconds are faster, and everybody is slower in the end.
        let take = |own: f64| {
            let number = runs.replace(runs.get() + 1);
            let cold = if number.is_multiple_of(2) { 1.0 } else { 0.0 };
            let drift = f64::from(number / 2) * 0.5;
            Ok::<_, Infallible>(own + cold + drift)
        };
        let Ok(alike) = difference(|| take(3.0), || take(3.0));
        assert!(alike.abs() < 1e-9, "{alike}");
        let Ok(longer) = difference(|| take(3.25), || take(3.0));
        assert!((longer - 0.25).abs() < 1e-9, "{longer}");
    }
}
