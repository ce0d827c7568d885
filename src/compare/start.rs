//! The suite `start`: the command, from its command line to its first byte and its end.

use std::fs;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use super::comparison::Bench;
use super::error::Error;
use super::launch::{Timed, Wall};
use super::report::{FailedRun, Start};
use super::schedule::{Length, Schedule};

/// How long the host is left alone before a start. The kernel puts a machine or a namespace away after its
/// process is gone, for some 40 ms, and that is not for the next start to pay, which is another wall's.
const REST: Duration = Duration::from_millis(200);

/// Times starts behind every wall in turns.
pub fn measure(bench: &mut Bench<'_>) -> Result<(), Error> {
    let walls = &bench.request.walls;
    bench.report.start = walls
        .iter()
        .map(|wall| Start {
            wall: wall.name.clone(),
            ..Start::default()
        })
        .collect();
    warm_up(bench)?;
    for turn in Schedule::begin(walls.len(), bench.request.length) {
        bench.tell("starts", turn.done, turn.all);
        let timed = once(bench, &walls[turn.wall])?;
        note(&mut bench.report.start[turn.wall], &timed);
        if (turn.done + 1).is_multiple_of(walls.len()) {
            bench.report.plan.samples = turn.round;
        }
        bench.keep()?;
    }
    bench.report.start.iter().try_for_each(has_samples)
}

/// Runs that do not count: the image is unpacked, caches are filled, and a command that fails is told
/// before half an hour is spent on it.
fn warm_up(bench: &mut Bench<'_>) -> Result<(), Error> {
    let walls = &bench.request.walls;
    for turn in Schedule::begin(walls.len(), Length::Rounds(bench.request.warmups)) {
        bench.tell("warm-ups", turn.done, turn.all);
        let wall = &walls[turn.wall];
        let timed = once(bench, wall)?;
        if !timed.status.success() {
            return Err(Error::Fails {
                wall: wall.name.clone(),
                status: timed.status_code(),
                message: timed.last_line(),
            });
        }
    }
    Ok(())
}

fn once(bench: &Bench<'_>, wall: &Wall) -> Result<Timed, Error> {
    if bench.request.cold {
        drop_caches()?;
    }
    sleep(REST);
    bench.time(wall)
}

/// A start that failed is no sample.
fn note(start: &mut Start, timed: &Timed) {
    if timed.status.success() {
        return start.samples.push(timed.sample());
    }
    let (status, message) = (timed.status_code(), timed.last_line());
    let alike = |failure: &&mut FailedRun| failure.status == status && failure.message == message;
    match start.failures.iter_mut().find(alike) {
        Some(failure) => failure.count += 1,
        None => start.failures.push(FailedRun {
            status,
            message,
            count: 1,
        }),
    }
}

fn has_samples(start: &Start) -> Result<(), Error> {
    match (start.samples.is_empty(), start.failures.first()) {
        (true, Some(failure)) => Err(Error::Fails {
            wall: start.wall.clone(),
            status: failure.status,
            message: failure.message.clone(),
        }),
        _ => Ok(()),
    }
}

/// Empties the page cache, and what the kernel remembers of names (proc(5), "drop_caches").
fn drop_caches() -> Result<(), Error> {
    rustix::fs::sync();
    let drop = || {
        fs::File::options()
            .write(true)
            .open("/proc/sys/vm/drop_caches")?
            .write_all(b"3")
    };
    drop().map_err(Error::Cold)
}
