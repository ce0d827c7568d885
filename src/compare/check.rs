//! A report held against an earlier one: which figures became worse, beyond chance and tolerance.
//!
//! A figure is a regression when its median is worse than the baseline's and the whole interval of
//! new over old lies above 1 + tolerance. A figure of a single value has no interval. Sizes are compared
//! by tolerance alone; a single reading of a host's clock is chance, and is not compared, unless both
//! reports say that their clock counts instructions (the fact `clock` is `virtual`).

use thiserror::Error;

use super::figures::{Figure, START, figures};
use super::report::{Report, VIRTUAL};
use super::statistics::Ratio;
use super::summary::Relation;

/// How much worse is not yet a regression, as a part of the old value.
pub const TOLERANCE: f64 = 0.03;

/// Why two reports say nothing about each other: one clause per reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the reports cannot be compared: {}", .0.join("; "))]
pub struct Incomparable(pub Vec<String>);

/// What became of the figures of a baseline.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// What became worse: one line each.
    pub regressions: Vec<String>,
    /// What could not be decided, and what else a reader should know: one line each.
    pub remarks: Vec<String>,
    /// How many figures were compared.
    pub compared: usize,
}

impl Outcome {
    /// Whether nothing became worse.
    pub fn passes(&self) -> bool {
        self.regressions.is_empty()
    }
}

/// Compares `new` with `baseline`. `tolerance` is a part: 0.03 is 3%.
pub fn check(new: &Report, baseline: &Report, tolerance: f64) -> Result<Outcome, Incomparable> {
    let reasons = incomparable(new, baseline);
    if !reasons.is_empty() {
        return Err(Incomparable(reasons));
    }
    let mut outcome = Outcome::default();
    outcome.remarks.extend(remarks(new, baseline));
    let measured = figures(new);
    let counted = [new, baseline]
        .iter()
        .all(|report| report.environment.clock_counts());
    for old in figures(baseline) {
        // What was not asked for this time is no loss.
        if !new.plan.suites.contains(&old.suite) {
            continue;
        }
        let same = |f: &&Figure| f.suite == old.suite && f.name == old.name && f.wall == old.wall;
        match measured.iter().find(same) {
            Some(new) => outcome.take(judge(&old, new, tolerance, counted)),
            None => outcome.regressions.push(format!(
                "{} ({}): the baseline has it, this report has no sample",
                title(&old),
                old.wall
            )),
        }
    }
    outcome.regressions.extend(failures(new, baseline));
    outcome.regressions.extend(parity(new, baseline));
    Ok(outcome)
}

/// What one figure's comparison said.
enum Judgement {
    Fine,
    Worse(String),
    Undecided(String),
}

impl Outcome {
    fn take(&mut self, judgement: Judgement) {
        match judgement {
            Judgement::Fine => self.compared += 1,
            Judgement::Worse(line) => {
                self.compared += 1;
                self.regressions.push(line);
            }
            Judgement::Undecided(line) => self.remarks.push(line),
        }
    }
}

fn judge(old: &Figure, new: &Figure, tolerance: f64, counted: bool) -> Judgement {
    let medians = old.sample.median().zip(new.sample.median());
    let (before, now) = medians.unwrap_or_default();
    let change = format!(
        "{} ({}): {} → {} {}",
        title(new),
        new.wall,
        number(before),
        number(now),
        new.unit
    );
    if old.unit != new.unit || old.better != new.better {
        return Judgement::Undecided(format!("{change}: was measured in {}", old.unit));
    }
    let limit = 1.0 + tolerance;
    match Relation::between(&new.sample, &old.sample, new.better) {
        // Nothing is above a baseline of 0 by a ratio, but it is above it.
        Relation::Undefined if now > before => Judgement::Worse(change),
        Relation::Undefined | Relation::Absent => Judgement::Fine,
        Relation::Interval(ratio) if ratio.low > limit => {
            let Ratio { value, low, high } = ratio;
            Judgement::Worse(format!("{change}, {value:.3} [{low:.3}, {high:.3}]"))
        }
        Relation::Interval(_) => Judgement::Fine,
        Relation::TooFew if !counted => Judgement::Undecided(format!(
            "{change}: n too small ({}, baseline {})",
            new.sample.len(),
            old.sample.len()
        )),
        Relation::Single(_) if !counted && is_timed(&new.unit) => Judgement::Undecided(format!(
            "{change}: not compared, one reading of a clock each"
        )),
        Relation::Single(_) | Relation::TooFew => {
            let ratio = Relation::of_medians(&new.sample, &old.sample, new.better);
            match ratio {
                Some(ratio) if ratio > limit => Judgement::Worse(format!("{change}, {ratio:.3}")),
                _ => Judgement::Fine,
            }
        }
    }
}

/// Whether a clock was read for a figure of `unit`.
fn is_timed(unit: &str) -> bool {
    unit.ends_with("/s") || matches!(unit, "s" | "ms" | "us" | "µs" | "ns")
}

/// `start exit`, `disk fsync`.
fn title(figure: &Figure) -> String {
    format!("{} {}", figure.suite, figure.name)
}

/// Enough digits to see a change of a few percent.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn incomparable(new: &Report, baseline: &Report) -> Vec<String> {
    let (a, b) = (&new.subject, &baseline.subject);
    let mut reasons = Vec::new();
    let mut same = |what: &str, new: String, old: String| {
        if new != old {
            reasons.push(format!("{what} is {new}, the baseline's {old}"));
        }
    };
    same("the image", a.digest.clone(), b.digest.clone());
    same(
        "the command",
        format!("{:?}", a.command),
        format!("{:?}", b.command),
    );
    same("--memory", mib(a.memory_bytes), mib(b.memory_bytes));
    same("--cpus", a.cpus.to_string(), b.cpus.to_string());
    let kvm = |report: &Report| format!("{:?}", report.environment.kvm).to_lowercase();
    same("the kind of KVM", kvm(new), kvm(baseline));
    let cache = |report: &Report| if report.plan.cold { "cold" } else { "warm" }.to_owned();
    same("the page cache", cache(new), cache(baseline));
    let clock = |report: &Report| {
        if report.environment.clock_counts() {
            VIRTUAL
        } else {
            "real"
        }
        .to_owned()
    };
    same("the clock", clock(new), clock(baseline));
    for wall in &baseline.plan.walls {
        if !new.plan.walls.contains(wall) {
            reasons.push(format!("the baseline's wall {wall} was not measured"));
        }
    }
    reasons
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes as f64 / f64::from(1 << 20))
}

/// What does not forbid the comparison, but may explain it.
fn remarks(new: &Report, baseline: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for (report, which) in [(new, "this report"), (baseline, "the baseline")] {
        if !report.complete {
            lines.push(format!("{which} is of an interrupted comparison"));
        }
    }
    for (name, old) in baseline.environment.facts.iter() {
        match new.environment.facts.get(name) {
            Some(new) if new != old => lines.push(format!("{name}: was {old}, is {new}")),
            _ => {}
        }
    }
    lines
}

/// Walls whose starts fail now, and more often than they did.
fn failures(new: &Report, baseline: &Report) -> Vec<String> {
    let part = |report: &Report, wall: &str| {
        let start = report.start.iter().find(|start| start.wall == wall)?;
        let failed: u32 = start.failures.iter().map(|failure| failure.count).sum();
        let all = start.samples.len() as f64 + f64::from(failed);
        Some((failed, f64::from(failed) / all.max(1.0)))
    };
    let failed = new.start.iter().filter_map(|start| {
        let (count, now) = part(new, &start.wall)?;
        let (_, before) = part(baseline, &start.wall)?;
        let worse = now > before;
        worse.then(|| format!("{START} ({}): {count} starts failed", start.wall))
    });
    failed.collect()
}

fn parity(new: &Report, baseline: &Report) -> Option<String> {
    let (now, before) = new.parity.as_ref().zip(baseline.parity.as_ref())?;
    let lost = before.equal && !now.equal;
    lost.then(|| "parity: the walls did the same in the baseline, and no longer do".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::CLOCK;
    use crate::compare::report::{FailedRun, Kvm};
    use crate::compare::testing;

    /// The report with every start, and every probe named, `factor` times as long.
    fn slower(factor: f64, probe: &str) -> Report {
        let mut report = testing::report();
        for sample in &mut report.start[0].samples {
            sample.exit_ms *= factor;
        }
        for work in report.work.iter_mut().filter(|work| work.probe == probe) {
            work.samples.iter_mut().for_each(|sample| *sample *= factor);
        }
        report
    }

    fn outcome(new: &Report) -> Outcome {
        check(new, &testing::report(), TOLERANCE).unwrap()
    }

    #[test]
    fn a_report_is_no_regression_of_itself() {
        let outcome = outcome(&testing::report());
        assert!(outcome.passes(), "{:?}", outcome.regressions);
        assert!(outcome.compared > 30);
        assert!(
            outcome
                .remarks
                .iter()
                .all(|line| line.contains("one reading"))
        );
    }

    #[test]
    fn what_is_slower_is_named_with_both_values_and_the_interval() {
        let outcome = outcome(&slower(1.5, "getpid"));
        assert_eq!(outcome.regressions.len(), 4, "{:?}", outcome.regressions);
        let line = &outcome.regressions[0];
        assert!(line.starts_with("start exit (vm): 4"), "{line}");
        assert!(
            line.contains(" → ") && line.contains(" ms, 1.500 [1."),
            "{line}"
        );
    }

    #[test]
    fn a_rate_is_worse_when_it_falls() {
        assert_eq!(outcome(&slower(0.7, "write")).regressions.len(), 3);
        assert!(outcome(&slower(1.02, "write")).passes());
    }

    #[test]
    fn what_is_within_the_tolerance_passes() {
        let new = slower(1.5, "getpid");
        assert!(check(&new, &testing::report(), 0.8).unwrap().passes());
        assert!(outcome(&slower(0.5, "getpid")).passes());
    }

    #[test]
    fn single_sizes_are_compared_and_single_times_only_by_a_virtual_clock() {
        let mut new = testing::report();
        new.footprint[0].points[0].pss_kib += 2_000;
        new.footprint[0].points[0].start_ms = Some(900.0);
        let real = outcome(&new);
        assert_eq!(
            real.regressions,
            ["footprint PSS, 1 instance (vm): 21000 → 23000 KiB, 1.095"]
        );
        let mut baseline = testing::report();
        for report in [&mut new, &mut baseline] {
            report.environment.facts.set(CLOCK, VIRTUAL.to_owned());
        }
        let counted = check(&new, &baseline, TOLERANCE).unwrap();
        assert_eq!(counted.regressions.len(), 2, "{:?}", counted.regressions);
    }

    #[test]
    fn few_samples_decide_nothing() {
        let mut new = slower(2.0, "none");
        new.start[0].samples.truncate(3);
        let outcome = outcome(&new);
        assert!(outcome.passes(), "{:?}", outcome.regressions);
        let few = |line: &String| line.contains("n too small (3, baseline 40)");
        assert_eq!(outcome.remarks.iter().filter(|line| few(line)).count(), 2);
    }

    #[test]
    fn what_failed_or_is_gone_is_a_regression() {
        let mut new = testing::report();
        new.start[1].samples.clear();
        new.start[1].failures.push(FailedRun {
            status: 125,
            message: "no".to_owned(),
            count: 40,
        });
        let lines = outcome(&new).regressions;
        assert!(
            lines[0].contains("first byte (container): the baseline has it"),
            "{lines:?}"
        );
        assert_eq!(lines[2], "start (container): 40 starts failed");
        new.plan.suites.retain(|suite| suite != START);
        assert_eq!(outcome(&new).regressions.len(), 1);
    }

    #[test]
    fn unlike_reports_are_refused_with_every_reason() {
        let mut new = testing::report();
        new.subject.digest = "sha256:00".to_owned();
        new.subject.memory_bytes = 64 << 20;
        new.environment.kvm = Kvm::Hardware;
        new.plan.walls.pop();
        let error = check(&new, &testing::report(), TOLERANCE).unwrap_err();
        assert_eq!(error.0.len(), 4);
        let text = error.to_string();
        assert!(
            text.contains("the kind of KVM is hardware, the baseline's software"),
            "{text}"
        );
        assert!(
            text.contains("--memory is 64 MiB, the baseline's 256 MiB"),
            "{text}"
        );
        assert!(
            text.ends_with("the baseline's wall runc was not measured"),
            "{text}"
        );
    }
}
