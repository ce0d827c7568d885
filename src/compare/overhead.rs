//! What the harness adds to what it times: the same short command, by the harness and by the barest
//! means, in turns.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::Error;
use super::interrupt::Interrupt;
use super::launch::{milliseconds, watch};
use super::statistics::Sample;

/// Pairs whose medians count.
const PAIRS: usize = 25;

/// How long the host is left alone before a pair.
const REST: Duration = Duration::from_millis(20);

/// Milliseconds that the harness adds to a run.
pub fn measure(interrupt: &Interrupt) -> Result<f64, Error> {
    let mut by_harness = Vec::new();
    let mut barely = Vec::new();
    for _ in 0..PAIRS {
        sleep(REST);
        by_harness.push(milliseconds(watch(short(), interrupt)?.exit));
        barely.push(milliseconds(time_barely()?));
    }
    let median = |times: Vec<f64>| Sample::of(times).median().unwrap_or_default();
    let added = median(by_harness) - median(barely);
    // Less than nothing is as little as can be told.
    Ok(added.max(0.0))
}

fn short() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("--version").process_group(0);
    command
}

/// Execution and wait, and nothing else.
fn time_barely() -> Result<Duration, Error> {
    let mut command = short();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begun = Instant::now();
    command.status().map_err(Error::Harness)?;
    Ok(begun.elapsed())
}
