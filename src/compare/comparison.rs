//! A comparison, on one page: what to measure, in what order, and the report that grows with every run.

use super::error::Error;
use super::figures::{FOOTPRINT, START};
use super::interrupt::Interrupt;
use super::journal::Journal;
use super::launch::{Desk, Timed, Wall, Workload, time};
use super::report::{Environment, Plan, Report, Subject};
use super::rights::Rights;
use super::schedule::Length;
use super::statistics::Sample;
use super::{footprint, overhead, parity, start, surface, work};

/// What to compare.
#[derive(Debug, Clone)]
pub struct Request {
    /// The walls; the first one is compared with the others.
    pub walls: Vec<Wall>,
    /// What runs behind each.
    pub workload: Workload,
    /// The same in the report's words.
    pub subject: Subject,
    /// Where.
    pub environment: Environment,
    /// What to measure, by name.
    pub suites: Vec<String>,
    /// How many starts.
    pub length: Length,
    /// Starts before those, behind each wall.
    pub warmups: u32,
    /// Whether each start finds an empty page cache.
    pub cold: bool,
    /// Numbers of instances, rising.
    pub instances: Vec<u32>,
    /// Numbers of starters, rising.
    pub parallel: Vec<u32>,
}

/// How far a comparison is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is under way.
    pub what: String,
    /// Runs of it that are done.
    pub done: usize,
    /// Runs of it in all, if that is known.
    pub all: Option<usize>,
}

/// A comparison under way.
pub struct Bench<'a> {
    /// What is asked for.
    pub request: &'a Request,
    /// What is known.
    pub report: Report,
    /// Where runs leave their words.
    pub desk: Desk,
    /// What the processes of walls may do, by the wall's number, as far as instances were seen already.
    pub rights: Vec<Option<Rights>>,
    /// Whether to go on.
    pub interrupt: Interrupt,
    journal: &'a Journal,
    progress: &'a mut dyn FnMut(Progress),
}

impl Bench<'_> {
    /// Says how far it is.
    pub fn tell(&mut self, what: &str, done: usize, all: Option<usize>) {
        (self.progress)(Progress {
            what: what.to_owned(),
            done,
            all,
        });
    }

    /// Runs the workload once behind `wall`, and times it.
    pub fn time(&self, wall: &Wall) -> Result<Timed, Error> {
        time(wall, &self.request.workload, &self.desk, &self.interrupt)
    }

    /// Keeps what is known.
    pub fn keep(&self) -> Result<(), Error> {
        self.journal.keep(&self.report)
    }
}

impl Workload {
    /// The same limits and the same image for husk's probe, which has its own user and place.
    pub fn for_probe(&self) -> Self {
        Self {
            words: Vec::new(),
            command: Vec::new(),
            ..self.clone()
        }
    }
}

/// Measures everything that is asked for. The report comes back whatever happens: what was measured
/// before an error is in it.
pub fn compare(
    request: &Request,
    desk: Desk,
    journal: &Journal,
    interrupt: Interrupt,
    progress: &mut dyn FnMut(Progress),
) -> (Report, Result<(), Error>) {
    let plan = Plan {
        walls: request.walls.iter().map(|wall| wall.name.clone()).collect(),
        suites: request.suites.clone(),
        samples: 0,
        warmups: request.warmups,
        cold: request.cold,
    };
    let report = Report::begin(request.environment.clone(), request.subject.clone(), plan);
    let mut bench = Bench {
        request,
        report,
        desk,
        rights: vec![None; request.walls.len()],
        interrupt,
        journal,
        progress,
    };
    let ended = measure(&mut bench);
    bench.report.complete = ended.is_ok();
    let kept = bench.keep();
    (bench.report, ended.and(kept))
}

fn measure(bench: &mut Bench<'_>) -> Result<(), Error> {
    let suites = bench.request.suites.clone();
    let asked = |name: &str| suites.iter().any(|suite| suite == name);
    bench.keep()?;
    if asked(START) {
        start::measure(bench)?;
        let added = overhead::measure(&bench.desk, &bench.interrupt)?;
        bench.report.harness_overhead_percent = share(added, &bench.report);
        bench.keep()?;
    }
    if asked(FOOTPRINT) {
        footprint::measure(bench)?;
    }
    if asked(parity::SUITE) {
        parity::measure(bench)?;
    }
    if asked(surface::SUITE) {
        surface::measure(bench)?;
    }
    let of_probe: Vec<_> = work::SUITES
        .into_iter()
        .filter(|suite| asked(suite))
        .collect();
    if !of_probe.is_empty() {
        work::measure(bench, &of_probe)?;
    }
    Ok(())
}

/// What the harness adds, in percent of the wall that it adds most to: the fastest.
fn share(added_ms: f64, report: &Report) -> Option<f64> {
    let medians = report.start.iter().filter_map(|start| {
        let exits = start.samples.iter().map(|sample| sample.exit_ms);
        Sample::of(exits).median()
    });
    let fastest = medians.min_by(f64::total_cmp)?;
    (fastest > 0.0).then(|| 100.0 * added_ms / fastest)
}
