//! What follows from a report: figures side by side, and what the first wall costs over each other.

use super::figures::{Figure, figures};
use super::ordered::Ordered;
use super::report::{Better, Kvm, Report, Start};
use super::statistics::{Ratio, Sample, ratio_of_medians};

/// Said first in every report from a software KVM.
pub const SOFTWARE_KVM: &str = "This host has a software KVM: it interprets the guest kernel. Figures that \
     a guest kernel has a part in are far worse here than on a processor with virtualization: start, \
     system calls, memory mapping, files and network. Pure computation is not touched.";

/// All figures of a report by wall.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The walls, in the order of the plan.
    pub walls: Vec<String>,
    /// One per figure, in the order of the report.
    pub rows: Vec<Row>,
    /// The medians of the phases of a start, in milliseconds, by wall; only walls that told some.
    pub phases: Vec<(String, Ordered<f64>)>,
}

/// One figure behind every wall.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The suite it belongs to.
    pub suite: String,
    /// Its name.
    pub name: String,
    /// The unit of its samples.
    pub unit: String,
    /// Which samples are the better ones.
    pub better: Better,
    /// The samples of each wall, in the summary's order; empty when the wall has none.
    pub samples: Vec<Sample>,
    /// The first wall's relation to each other wall: above 1 the first is slower, or costs more.
    pub relations: Vec<Relation>,
}

/// What can be said of a figure behind two walls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Relation {
    /// A ratio and how sure it is.
    Interval(Ratio),
    /// The ratio of two single values, which says nothing of chance.
    Single(f64),
    /// Too few samples for a ratio.
    TooFew,
    /// No ratio exists: the other wall's figure is 0, or one is negative.
    Undefined,
    /// One of the walls has no sample.
    Absent,
}

impl Relation {
    /// How `first` relates to `second`. Above 1, `first` is worse, whichever direction is the good one.
    pub fn between(first: &Sample, second: &Sample, better: Better) -> Self {
        let (first, second) = match better {
            Better::Lower => (first, second),
            Better::Higher => (second, first),
        };
        match (first.sorted(), second.sorted()) {
            ([], _) | (_, []) => Self::Absent,
            ([a], [b]) if a == b => Self::Single(1.0),
            ([a], [b]) if *a >= 0.0 && *b > 0.0 => Self::Single(a / b),
            ([_], [_]) => Self::Undefined,
            _ if first.is_few() || second.is_few() => Self::TooFew,
            _ => ratio_of_medians(first, second).map_or(Self::Undefined, Self::Interval),
        }
    }

    /// The ratio of the medians in the sense of [`Relation::between`], however few samples there are.
    pub fn of_medians(first: &Sample, second: &Sample, better: Better) -> Option<f64> {
        let (first, second) = (first.median()?, second.median()?);
        let ratio = match better {
            Better::Lower => first / second,
            Better::Higher => second / first,
        };
        ratio.is_finite().then_some(ratio)
    }

    /// The ratio itself.
    pub fn value(self) -> Option<f64> {
        match self {
            Self::Interval(ratio) => Some(ratio.value),
            Self::Single(value) => Some(value),
            Self::TooFew | Self::Undefined | Self::Absent => None,
        }
    }
}

impl Summary {
    /// Derives everything from `report`.
    pub fn of(report: &Report) -> Self {
        let figures = figures(report);
        let walls = walls(report, &figures);
        let mut rows: Vec<Row> = Vec::new();
        for figure in figures {
            let at = walls.iter().position(|wall| *wall == figure.wall);
            let known = rows
                .iter()
                .position(|row| row.suite == figure.suite && row.name == figure.name);
            let row = known.unwrap_or(rows.len());
            if known.is_none() {
                rows.push(Row::without_samples(&figure, walls.len()));
            }
            if let Some(at) = at {
                rows[row].samples[at] = figure.sample;
            }
        }
        rows.iter_mut().for_each(Row::relate);
        let phases = report.start.iter().map(|s| (s.wall.clone(), phases(s)));
        let phases = phases.filter(|(_, phases)| !phases.is_empty()).collect();
        Self {
            walls,
            rows,
            phases,
        }
    }

    /// The suites, in the order of the rows.
    pub fn suites(&self) -> Vec<&str> {
        let mut suites: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !suites.contains(&row.suite.as_str()) {
                suites.push(&row.suite);
            }
        }
        suites
    }

    /// The rows of `suite`.
    pub fn of_suite<'a>(&'a self, suite: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.suite == suite)
    }
}

impl Row {
    fn without_samples(figure: &Figure, walls: usize) -> Self {
        Self {
            suite: figure.suite.clone(),
            name: figure.name.clone(),
            unit: figure.unit.clone(),
            better: figure.better,
            samples: vec![Sample::of([]); walls],
            relations: Vec::new(),
        }
    }

    fn relate(&mut self) {
        if let [first, others @ ..] = self.samples.as_slice() {
            let relate = |other| Relation::between(first, other, self.better);
            self.relations = others.iter().map(relate).collect();
        }
    }
}

/// The walls of the plan, then those that have a figure and are not in it.
fn walls(report: &Report, figures: &[Figure]) -> Vec<String> {
    let mut walls = report.plan.walls.clone();
    let surfaces = report.surface.iter().map(|surface| &surface.wall);
    for wall in figures.iter().map(|figure| &figure.wall).chain(surfaces) {
        if !walls.contains(wall) {
            walls.push(wall.clone());
        }
    }
    walls
}

/// The median of each phase, and of the time that is in none of them, over the samples that have phases.
fn phases(start: &Start) -> Ordered<f64> {
    let told = start.samples.iter().filter(|s| !s.phases_ms.is_empty());
    let told: Vec<_> = told.collect();
    let mut names: Ordered<()> = Ordered::default();
    for sample in &told {
        for (name, _) in sample.phases_ms.iter() {
            names.set(name, ());
        }
    }
    let median = |of: &dyn Fn(&str) -> Sample, name: &str| of(name).median().unwrap_or(0.0);
    let phase = |name: &str| Sample::of(told.iter().filter_map(|s| s.phases_ms.get(name).copied()));
    let mut medians: Ordered<f64> = names
        .iter()
        .map(|(name, ())| (name.to_owned(), median(&phase, name)))
        .collect();
    let rest = Sample::of(told.iter().map(|sample| {
        let phases: f64 = sample.phases_ms.iter().map(|(_, length)| length).sum();
        sample.exit_ms - phases
    }));
    // Rounding leaves a little of either sign.
    if let Some(rest) = rest.median().filter(|rest| *rest > 0.01) {
        medians.set("outside", rest);
    }
    medians
}

/// What a reader has to know before any figure, most important first.
pub fn headlines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if report.environment.kvm == Kvm::Software {
        lines.push(SOFTWARE_KVM.to_owned());
    }
    if report.environment.clock_counts() {
        lines.push(VIRTUAL_CLOCK.to_owned());
    }
    if !report.complete {
        lines.push(
            "This comparison was interrupted: the figures are of what had run by then.".to_owned(),
        );
    }
    lines.extend(failures(report));
    lines.extend(report.notes.iter().cloned());
    lines
}

/// What a virtual clock does not see.
const VIRTUAL_CLOCK: &str = "The clock of this host counts instructions, a nanosecond each: times repeat, \
    and compare work with work. What a processor adds without an instruction, above all the 1 to 2 µs of each exit of a \
    virtual machine, is not in them.";

/// One line per way in which starts failed.
fn failures(report: &Report) -> impl Iterator<Item = String> {
    report.start.iter().flat_map(|start| {
        let failed: u32 = start.failures.iter().map(|failure| failure.count).sum();
        let all = start.samples.len() + failed as usize;
        start.failures.iter().map(move |failure| {
            format!(
                "{}: {} of {all} starts failed with status {}: {}. They are in no figure.",
                start.wall,
                failure.count,
                failure.status,
                failure.message.trim_end_matches('.')
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::figures::EXIT;
    use crate::compare::report::FailedRun;
    use crate::compare::statistics::Verdict;
    use crate::compare::testing;

    fn verdict(relation: Relation) -> Verdict {
        match relation {
            Relation::Interval(ratio) => ratio.verdict(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_wall_is_compared_with_each_other() {
        let summary = Summary::of(&testing::report());
        assert_eq!(summary.walls, ["vm", "container", "runc"]);
        let exit = summary.rows.iter().find(|r| r.name == EXIT).unwrap();
        assert_eq!(exit.relations.len(), 2);
        assert_eq!(verdict(exit.relations[0]), Verdict::Larger);
    }

    #[test]
    fn above_one_is_worse_whichever_direction_is_good() {
        let summary = Summary::of(&testing::report());
        let find = |name: &str| summary.rows.iter().find(|r| r.name == name).unwrap();
        // The virtual machine writes fewer bytes per second, and takes longer per system call.
        for name in ["write", "getpid"] {
            assert_eq!(verdict(find(name).relations[0]), Verdict::Larger, "{name}");
        }
    }

    #[test]
    fn few_samples_have_no_ratio() {
        let mut report = testing::report();
        for start in &mut report.start {
            start.samples.truncate(1);
        }
        let single = Summary::of(&report).rows[0].relations[0];
        assert!(matches!(single, Relation::Single(ratio) if ratio > 1.0));
        report.start[0].samples.clear();
        let absent = Summary::of(&report);
        let row = absent.rows.iter().find(|r| r.name == EXIT).unwrap();
        assert_eq!(row.relations, [Relation::Absent, Relation::Absent]);
    }

    #[test]
    fn phases_and_what_is_outside_of_them_make_the_whole() {
        let report = testing::report();
        let summary = Summary::of(&report);
        let (wall, phases) = &summary.phases[0];
        assert_eq!(wall, "vm");
        assert_eq!(phases.iter().next().unwrap().0, "kvm");
        let sum: f64 = phases.iter().map(|(_, length)| length).sum();
        let exit = Sample::of(report.start[0].samples.iter().map(|s| s.exit_ms));
        let off = (sum / exit.median().unwrap() - 1.0).abs();
        assert!(off < 0.1, "{off}");
        assert!(summary.phases.iter().all(|(wall, _)| wall != "runc"));
    }

    #[test]
    fn the_first_line_is_about_a_software_kvm() {
        let mut report = testing::report();
        report.complete = false;
        report.start[1].failures.push(FailedRun {
            status: 127,
            message: "no such file".to_owned(),
            count: 2,
        });
        let lines = headlines(&report);
        assert_eq!(lines[0], SOFTWARE_KVM);
        assert!(lines[1].contains("interrupted"));
        let failed = "container: 2 of 42 starts failed with status 127: no such file.";
        assert!(lines[2].starts_with(failed), "{}", lines[2]);
    }
}
