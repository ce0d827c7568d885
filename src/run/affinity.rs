//! On which processors of the host a run is: this process, and whatever it starts.

use std::fs;
use std::io;
use std::process;

use rustix::io::Errno;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::run::Error;
use crate::spec::CpuList;
use crate::sys::processes::tree;

/// So often is looked for tasks that began while the others were moved.
const ROUNDS: u32 = 16;

/// Keeps this process, and who comes of it, to the processors of `list`.
pub fn bind(list: &CpuList) -> Result<(), Error> {
    let failed = |errno: Errno| Error::Streams(io::Error::from(errno));
    let ours = sched_getaffinity(None).map_err(failed)?;
    let mut wanted = CpuSet::new();
    for number in list.numbers() {
        if number >= CpuSet::MAX_CPU || !ours.is_set(number) {
            return Err(Error::NoSuchCpu { number });
        }
        wanted.set(number);
    }
    sched_setaffinity(None, &wanted).map_err(failed)
}

/// Has this thread go to the processors of `list`, wherever it was: whether this host has them all.
pub fn go(list: &CpuList) -> Result<CpuSet, Error> {
    let failed = |errno: Errno| Error::Streams(io::Error::from(errno));
    let before = sched_getaffinity(None).map_err(failed)?;
    let mut wanted = CpuSet::new();
    for number in list.numbers() {
        if number >= CpuSet::MAX_CPU {
            return Err(Error::NoSuchCpu { number });
        }
        wanted.set(number);
    }
    let first = list.numbers().next().unwrap_or_default();
    // None of them is there.
    sched_setaffinity(None, &wanted).map_err(|_| Error::NoSuchCpu { number: first })?;
    let granted = sched_getaffinity(None).map_err(failed)?;
    match list.numbers().find(|number| !granted.is_set(*number)) {
        None => Ok(wanted),
        Some(number) => {
            sched_setaffinity(None, &before).map_err(failed)?;
            Err(Error::NoSuchCpu { number })
        }
    }
}

/// Has this process and all that have come of it follow to `wanted`, every thread of them.
pub fn follow(wanted: &CpuSet) {
    // Who begins meanwhile may have a parent that was not moved yet.
    for _ in 0..ROUNDS {
        let strays = tasks().filter(|task| {
            let has = sched_getaffinity(Some(*task));
            // One that is gone needs nothing.
            has.is_ok_and(|has| has != *wanted) && sched_setaffinity(Some(*task), wanted).is_ok()
        });
        if strays.count() == 0 {
            break;
        }
    }
}

/// Every thread of this process, and of those below it.
fn tasks() -> impl Iterator<Item = Pid> {
    let processes = tree(process::id()).into_iter();
    let folders = processes.flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")));
    let tasks = folders.flatten().flatten();
    tasks.filter_map(|task| Pid::from_raw(task.file_name().to_str()?.parse().ok()?))
}
