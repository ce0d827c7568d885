//! The suites that husk's probe measures inside the walls: CPU, memory, system calls, disk, network.

use std::ffi::{OsStr, OsString};

use serde::Deserialize;

use super::comparison::Bench;
use super::error::Error;
use super::launch::{Timed, Workload, command, watch};
use super::report::{Better, Work};
use super::schedule::{FEWEST, Length, Schedule};

/// The probe's suites, by the names that it takes.
pub const SUITES: [&str; 5] = ["cpu", "memory", "syscall", "disk", "net"];

/// What is equal about the file systems, and what is not measured.
const MEMORY_ROOTS: &str = "The root is an overlay in memory behind every wall: the suite disk measures that, and no disk of the host's.";

/// One line of the probe's.
#[derive(Debug, Deserialize)]
struct Line {
    suite: String,
    probe: String,
    unit: String,
    better: Better,
    value: f64,
}

/// Has the probe measure every wall in turns, in as many rounds as a figure needs.
pub fn measure(bench: &mut Bench<'_>, suites: &[&str]) -> Result<(), Error> {
    let walls = &bench.request.walls;
    let words = ["--suite".into(), OsString::from(suites.join(","))];
    let probe = Workload {
        command: words.to_vec(),
        ..bench.request.workload.for_probe()
    };
    if suites.contains(&"disk") {
        bench.report.notes.push(MEMORY_ROOTS.to_owned());
    }
    for turn in Schedule::begin(walls.len(), Length::Rounds(FEWEST)) {
        bench.tell("probes", turn.done, turn.all);
        let wall = &walls[turn.wall];
        let command = command(wall, &probe, &[OsStr::new("--probe")]);
        let timed = watch(command, &bench.interrupt)?;
        if !timed.status.success() {
            return Err(Error::Probe {
                wall: wall.name.clone(),
                status: timed.status_code(),
                message: timed.last_line(),
            });
        }
        note(&mut bench.report.work, &wall.name, &timed);
        bench.keep()?;
    }
    // Walls side by side, probe by probe.
    let order = |name: &str| walls.iter().position(|wall| wall.name == name);
    bench.report.work.sort_by_key(|work| order(&work.wall));
    Ok(())
}

/// Adds what one run of the probe printed.
fn note(work: &mut Vec<Work>, wall: &str, timed: &Timed) {
    let text = String::from_utf8_lossy(&timed.stdout);
    for line in text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
    {
        let same = |one: &&mut Work| {
            one.wall == wall && one.suite == line.suite && one.probe == line.probe
        };
        match work.iter_mut().find(same) {
            Some(known) => known.samples.push(line.value),
            None => work.push(Work {
                wall: wall.to_owned(),
                suite: line.suite,
                probe: line.probe,
                unit: line.unit,
                better: line.better,
                samples: vec![line.value],
            }),
        }
    }
}
