//! The suites: what each probe does, and what its figure counts.

mod cpu;
mod disk;
mod memory;
mod net;
mod syscall;

use std::io::Write;

use crate::args::{Args, Suite};
use crate::report::Report;

/// Runs every probe of a suite.
pub fn run<O: Write, E: Write>(suite: Suite, args: &Args, report: &mut Report<O, E>) {
    let budget = args.budget;
    let mut take = |probe: &str, measured| report.take(suite.name(), probe, measured);
    match suite {
        Suite::Cpu => cpu::run(budget, &mut take),
        Suite::Memory => memory::run(budget, &mut take),
        Suite::Syscall => syscall::run(budget, &mut take),
        Suite::Disk => disk::run(budget, &args.dirs, &mut take),
        Suite::Net => net::run(budget, args.peer, &mut take),
    }
}
