//! The suite `footprint`: what a number of idle instances take of the host's memory, what one more takes,
//! and how fast another starts beside them.
//!
//! An instance is husk's probe that waits, in the subject's image. Its processes are `husk run` and
//! everything below; each page counts as the share that each process has of it. What the kernel spends
//! is what /proc/meminfo says it spends more than before: the whole host's, so a busy host blurs it.

use std::fs;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use super::comparison::Bench;
use super::error::Error;
use super::instance::Fleet;
use super::launch::{Wall, command, milliseconds, watch};
use super::report::{Footprint, FootprintPoint, Throughput};
use super::rights::Rights;
use super::statistics::Sample;
use crate::sys::processes::{proportional_size, tree};

/// What of /proc/meminfo the kernel spends on processes and machines (proc(5)).
const KERNEL_FIELDS: [&str; 5] = [
    "Slab:",
    "KernelStack:",
    "PageTables:",
    "SecPageTables:",
    "Percpu:",
];

/// How long an instance that is up is left alone before it is looked at.
const SETTLE: Duration = Duration::from_millis(300);

/// How long the host is left alone before its own memory is looked at.
const REST: Duration = Duration::from_secs(2);

/// Starts beside running instances whose median counts, at most.
const BESIDE: usize = 3;

/// How long those may take before one less does.
const ENOUGH: Duration = Duration::from_secs(5);

/// Looks at every wall, one after the other: instances of two walls at once would blur each other.
pub fn measure(bench: &mut Bench<'_>) -> Result<(), Error> {
    for (number, wall) in bench.request.walls.iter().enumerate() {
        bench.report.footprint.push(Footprint {
            wall: wall.name.clone(),
            ..Footprint::default()
        });
        fill(bench, number)?;
        for parallel in &bench.request.parallel {
            bench.tell(
                &format!("{parallel} starters behind {}", wall.name),
                0,
                None,
            );
            let rate = start_in_parallel(bench, wall, *parallel)?;
            bench.report.footprint[number].throughput.push(rate);
            bench.keep()?;
        }
    }
    Ok(())
}

/// More and more instances of one wall.
fn fill(bench: &mut Bench<'_>, number: usize) -> Result<(), Error> {
    let wall = &bench.request.walls[number];
    // The runs before leave things to the kernel that it puts away in its own time.
    sleep(REST);
    let before = kernel_kib();
    let mut fleet = Fleet::default();
    let mut last: Option<(u32, u64)> = None;
    for wanted in bench.request.instances.iter().copied() {
        while fleet.len() < wanted as usize {
            let up = fleet.len();
            bench.tell(
                &format!("instances behind {}", wall.name),
                up,
                Some(wanted as usize),
            );
            fleet.start(bench, wall)?;
        }
        sleep(SETTLE);
        // What the suite `surface` would start another instance for.
        if bench.rights[number].is_none() {
            bench.rights[number] = Rights::of(&fleet);
        }
        let pss_kib: u64 = fleet.processes().map(tree_pss_kib).sum();
        let kernel = before
            .zip(kernel_kib())
            .map(|(before, now)| now.saturating_sub(before));
        let total = pss_kib + kernel.unwrap_or(0);
        let marginal = last.map(|(instances, kib)| {
            total.saturating_sub(kib) / u64::from(wanted - instances).max(1)
        });
        last = Some((wanted, total));
        let point = FootprintPoint {
            instances: wanted,
            pss_kib,
            kernel_kib: kernel,
            marginal_kib: marginal,
            start_ms: start_beside(bench, wall)?,
        };
        bench.report.footprint[number].points.push(point);
        bench.keep()?;
    }
    Ok(())
}

/// The median of a few starts of the subject's command, with what is running; where each takes seconds, it
/// differs by little, and the first says as much.
fn start_beside(bench: &Bench<'_>, wall: &Wall) -> Result<Option<f64>, Error> {
    let mut times = Vec::new();
    let begun = Instant::now();
    while times.len() < BESIDE && (times.is_empty() || begun.elapsed() < ENOUGH) {
        let timed = bench.time(wall)?;
        times.push(milliseconds(timed.exit));
    }
    Ok(Sample::of(times).median())
}

/// So many starters at once, each of which starts the command again and again.
fn start_in_parallel(bench: &Bench<'_>, wall: &Wall, parallel: u32) -> Result<Throughput, Error> {
    /// What each of them starts.
    const EACH: u32 = 5;
    let (workload, interrupt) = (&bench.request.workload, &bench.interrupt);
    let begun = Instant::now();
    let results: Vec<Result<(), Error>> = thread::scope(|scope| {
        let starters = (0..parallel).map(|_| {
            scope.spawn(|| {
                for _ in 0..EACH {
                    watch(command(wall, workload, &[]), interrupt)?;
                }
                Ok(())
            })
        });
        let starters: Vec<_> = starters.collect();
        let ended = starters
            .into_iter()
            .filter_map(|starter| starter.join().ok());
        ended.collect()
    });
    results.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(Throughput {
        parallel,
        starts_per_second: f64::from(parallel * EACH) / begun.elapsed().as_secs_f64(),
    })
}

/// The proportional set size of a process and everything below it, KiB.
fn tree_pss_kib(pid: u32) -> u64 {
    let sizes = tree(pid).into_iter().filter_map(proportional_size);
    sizes.map(|bytes| bytes >> 10).sum()
}

fn kernel_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let fields = KERNEL_FIELDS
        .iter()
        .filter_map(|name| field_kib(&text, name));
    Some(fields.sum())
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_their_whole_name() {
        let text = "Pss:                 120 kB\nPss_Dirty:  7 kB\n";
        assert_eq!(field_kib(text, "Pss:"), Some(120));
        assert_eq!(field_kib(text, "Rss:"), None);
    }
}
