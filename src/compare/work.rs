//! The suites that husk's probe measures inside the walls: CPU, memory, system calls, disk, network.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::process;

use serde::Deserialize;

use super::comparison::Bench;
use super::error::Error;
use super::launch::{Timed, Workload, command, watch};
use super::peer::Peer;
use super::report::{Better, Work};
use super::schedule::{FEWEST, Length, Schedule};
use crate::image::Store;
use crate::volumes::Volumes;

/// The probe's suites, by the names that it takes.
pub const SUITES: [&str; 5] = ["cpu", "memory", "syscall", "disk", "net"];

/// What is equal about the file systems, and what is not measured.
const MEMORY_ROOTS: &str = "The root is an overlay in memory behind every wall. What the suite disk calls `volume` is a named volume on the store's disk: a mount behind namespaces, a shared folder in a machine.";

/// What is not measured of the network, and why.
const NO_PEER: &str = "This host has no address but its loopback, which no wall's network leads to: the suite net has measured each wall's own loopback only.";

/// Milliseconds for each probe where the clock counts instructions: a time repeats there, a quarter of the probe's own
/// budget says as much, and a second of such a clock takes the host many.
const COUNTED_BUDGET: &str = "50";

/// Where the volume that is measured is mounted.
const VOLUME_PLACE: &str = "/husk-volume";

/// A named volume of a comparison's own, gone with this value.
struct Volume {
    volumes: Volumes,
    name: String,
}

impl Volume {
    fn new() -> Result<Self, Error> {
        let volumes = Volumes::of(&Store::default_path()?);
        let name = format!("husk-compare-{}", process::id());
        volumes.create(&name, BTreeMap::new())?;
        Ok(Self { volumes, name })
    }

    /// The words by which a run sees it.
    fn words(&self) -> [OsString; 2] {
        [
            "--volume".into(),
            format!("{}:{VOLUME_PLACE}", self.name).into(),
        ]
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // It is listed, and `husk volume prune` removes it.
        let _stays = self.volumes.remove(&self.name);
    }
}

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
    let mut words = vec!["--suite".into(), OsString::from(suites.join(","))];
    if bench.request.environment.clock_counts() {
        words.extend(["--budget-ms".into(), COUNTED_BUDGET.into()]);
    }
    let volume = suites.contains(&"disk").then(Volume::new).transpose()?;
    let mut flags = vec![OsString::from("--probe")];
    if let Some(volume) = &volume {
        flags.extend(volume.words());
        words.extend(["--dir".into(), format!("volume={VOLUME_PLACE}").into()]);
        bench.report.notes.push(MEMORY_ROOTS.to_owned());
    }
    let peer = suites.contains(&"net").then(Peer::serve).transpose();
    let peer = peer.map_err(Error::Peer)?.flatten();
    match &peer {
        Some(peer) => words.extend(["--peer".into(), peer.address().to_string().into()]),
        None if suites.contains(&"net") => bench.report.notes.push(NO_PEER.to_owned()),
        None => {}
    }
    let flags: Vec<&OsStr> = flags.iter().map(OsString::as_os_str).collect();
    let probe = Workload {
        command: words,
        ..bench.request.workload.for_probe()
    };
    for turn in Schedule::begin(walls.len(), Length::Rounds(FEWEST)) {
        bench.tell("probes", turn.done, turn.all);
        let wall = &walls[turn.wall];
        let command = command(wall, &probe, &flags);
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
