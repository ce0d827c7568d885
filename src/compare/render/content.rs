//! What a report says, section by section, whatever it is rendered to.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::words::{Scale, number, plain, ratio, verdict};
use crate::compare::figures::{FOOTPRINT, START};
use crate::compare::report::{Kvm, Parity, Report, Surface};
use crate::compare::statistics::{FEWEST, Sample};
use crate::compare::summary::{Row, Summary};

/// A part of a report under a heading of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The suite that it is about, or a name of its own.
    pub key: String,
    pub title: String,
    /// Said before the tables.
    pub texts: Vec<String>,
    pub tables: Vec<Table>,
}

/// Cells below heads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub head: Vec<String>,
    /// Whether each column is of numbers, which stand to the right.
    pub numeric: Vec<bool>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose heads that begin with `>` are of numbers.
    pub fn with(heads: &[&str]) -> Self {
        Self {
            head: heads
                .iter()
                .map(|h| h.trim_start_matches('>').to_owned())
                .collect(),
            numeric: heads.iter().map(|h| h.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    fn push<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| plain(&cell)).to_vec());
    }
}

/// Every section that the report has something for.
pub fn sections(report: &Report, summary: &Summary) -> Vec<Section> {
    let mut sections = Vec::new();
    for suite in summary.suites() {
        sections.push(match suite {
            START => start(summary),
            _ => suite_section(summary, suite),
        });
    }
    sections.extend(
        report
            .parity
            .as_ref()
            .map(|parity| self::parity(report, parity)),
    );
    sections.extend((!report.surface.is_empty()).then(|| surface(&report.surface)));
    sections.push(environment(report));
    sections
}

/// What the times of the starts are.
const MEANING: &str =
    "From the execution of the command line to the first byte of output, and to the exit.";

fn start(summary: &Summary) -> Section {
    let mut times = Table::with(&[
        "ms", "wall", ">n", ">p50", ">p95", ">p99", ">mean", ">min", ">max",
    ]);
    let mut relations = Table::with(&["", "against", ">ratio [95%]", ""]);
    for row in summary.of_suite(START) {
        for (at, wall, sample) in measured(summary, row) {
            let name = if at == 0 {
                row.name.clone()
            } else {
                String::new()
            };
            let show = |value: Option<f64>| value.map(number).unwrap_or_default();
            let percentile = |p| show(sample.percentile(p));
            times.push([
                name,
                wall.to_owned(),
                sample.len().to_string(),
                percentile(50.0),
                percentile(95.0),
                percentile(99.0),
                show(sample.mean()),
                show(sample.min()),
                show(sample.max()),
            ]);
        }
        relate(summary, row, &mut relations);
    }
    let mut tables = vec![times];
    tables.extend((!relations.rows.is_empty()).then_some(relations));
    tables.extend(phases(summary));
    Section {
        key: START.to_owned(),
        title: "Start".to_owned(),
        texts: [MEANING.to_owned()]
            .into_iter()
            .chain(how_to_read(summary))
            .collect(),
        tables,
    }
}

fn relate(summary: &Summary, row: &Row, table: &mut Table) {
    let Some(first) = summary.walls.first() else {
        return;
    };
    for (relation, other) in row.relations.iter().zip(&summary.walls[1..]) {
        table.push([
            row.name.clone(),
            format!("{first} / {other}"),
            ratio(*relation),
            verdict(row, *relation).to_owned(),
        ]);
    }
}

/// The walls that have samples of `row`, counted, and those samples.
fn measured<'a>(
    summary: &'a Summary,
    row: &'a Row,
) -> impl Iterator<Item = (usize, &'a str, &'a Sample)> {
    let walls = summary.walls.iter().zip(&row.samples);
    let filled = walls.filter(|(_, sample)| !sample.is_empty());
    filled
        .enumerate()
        .map(|(at, (wall, sample))| (at, wall.as_str(), sample))
}

fn phases(summary: &Summary) -> Option<Table> {
    let (_, first) = summary.phases.first()?;
    let heads = summary
        .phases
        .iter()
        .map(|(wall, _)| format!(">{}", plain(wall)));
    let heads: Vec<_> = ["phase, ms".to_owned()].into_iter().chain(heads).collect();
    let mut table = Table::with(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    let mut names: Vec<&str> = first.iter().map(|(name, _)| name).collect();
    for (_, other) in &summary.phases {
        let missing = other
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !names.contains(name));
        let missing: Vec<_> = missing.collect();
        names.extend(missing);
    }
    for name in names {
        let values = summary.phases.iter().map(|(_, phases)| phases.get(name));
        let values = values.map(|value| value.map_or("-".to_owned(), |v| number(*v)));
        table
            .rows
            .push([plain(name)].into_iter().chain(values).collect());
    }
    Some(table)
}

/// Footprint, and each suite of the probe.
fn suite_section(summary: &Summary, suite: &str) -> Section {
    let mut table = Table::with(&["", "wall", ">n", ">p50", ">p95", "unit", ">ratio [95%]", ""]);
    for row in summary.of_suite(suite) {
        let scale = Scale::of_row(row);
        for (at, wall, sample) in measured(summary, row) {
            let other = summary
                .walls
                .iter()
                .position(|w| w == wall)
                .and_then(|w| w.checked_sub(1));
            let relation = other.and_then(|other| row.relations.get(other));
            // One value is its own every percentile.
            let p95 = (sample.len() > 1)
                .then(|| sample.percentile(95.0))
                .flatten();
            table.push([
                if at == 0 {
                    row.name.clone()
                } else {
                    String::new()
                },
                wall.to_owned(),
                sample.len().to_string(),
                scale.show(sample.median()),
                scale.show(p95),
                scale.unit.to_owned(),
                relation.map_or(String::new(), |r| ratio(*r)),
                relation.map_or("", |r| verdict(row, *r)).to_owned(),
            ]);
        }
    }
    let texts = match suite {
        FOOTPRINT => vec![
            "PSS is the memory of all an instance's processes, with shared pages in equal parts; \
             kernel is what the host kernel spends on them."
                .to_owned(),
        ],
        _ => Vec::new(),
    };
    Section {
        key: suite.to_owned(),
        title: capital(suite),
        texts: texts.into_iter().chain(how_to_read(summary)).collect(),
        tables: vec![table],
    }
}

fn how_to_read(summary: &Summary) -> Option<String> {
    let [first, _, ..] = summary.walls.as_slice() else {
        return None;
    };
    Some(plain(&format!(
        "A ratio is {first} over the other wall, turned round for rates: above 1, {first} is worse. \
         In brackets is its 95% interval, from {FEWEST} samples on."
    )))
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    plain(&(first.unwrap_or_default() + chars.as_str()))
}

fn parity(report: &Report, parity: &Parity) -> Section {
    let mut table = Table::with(&["differs", "wall", "was"]);
    for difference in &parity.differences {
        let what = match &difference.path {
            Some(path) => format!("{} {path}", difference.what.name()),
            None => difference.what.name().to_owned(),
        };
        for (at, (wall, was)) in difference.walls.iter().enumerate() {
            let what = if at == 0 { what.clone() } else { String::new() };
            table.push([what, wall.to_owned(), was.clone()]);
        }
    }
    let walls = report.plan.walls.join(", ");
    let text = if parity.equal {
        format!("Exit status, output and changed files are the same behind {walls}.")
    } else {
        format!("The command did not do the same behind {walls}.")
    };
    Section {
        key: "parity".to_owned(),
        title: "Parity".to_owned(),
        texts: vec![plain(&text)],
        tables: (!table.rows.is_empty())
            .then_some(table)
            .into_iter()
            .collect(),
    }
}

/// Names of system calls and exits that are shown per wall; the report has all.
const SHOWN: usize = 8;

fn surface(surfaces: &[Surface]) -> Section {
    let heads: Vec<_> = surfaces.iter().map(|s| plain(&s.wall)).collect();
    let heads: Vec<&str> = [""]
        .into_iter()
        .chain(heads.iter().map(String::as_str))
        .collect();
    let mut table = Table::with(&heads);
    let mut line = |name: &str, cell: &dyn Fn(&Surface) -> String| {
        let cells = surfaces.iter().map(|surface| plain(&cell(surface)));
        table
            .rows
            .push([name.to_owned()].into_iter().chain(cells).collect());
    };
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let counts = |map: &BTreeMap<String, u64>| match map.len() {
        0 => "none".to_owned(),
        kinds => format!("{kinds} kinds, {} times", map.values().sum::<u64>()),
    };
    line("system calls", &|s| counts(&s.syscalls));
    line("ioctls", &|s| counts(&s.ioctls));
    line("exits", &|s| counts(&s.exits));
    line("capabilities", &|s| s.capabilities.len().to_string());
    line("seccomp", &|s| s.seccomp.clone());
    line("no new privileges", &|s| yes(s.no_new_privs));
    line("user namespace", &|s| yes(s.user_namespace));
    let mut names = Table::with(&["wall", "", "most often"]);
    for surface in surfaces {
        let lists = [
            ("system calls", most(&surface.syscalls)),
            ("ioctls", most(&surface.ioctls)),
            ("exits", most(&surface.exits)),
            ("capabilities", surface.capabilities.join(" ")),
            ("notes", surface.notes.join("; ")),
        ];
        for (what, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            names.push([surface.wall.clone(), what.to_owned(), list]);
        }
    }
    Section {
        key: "surface".to_owned(),
        title: "What it buys".to_owned(),
        texts: vec!["What of the host each wall leaves within the workload's reach.".to_owned()],
        tables: vec![table, names],
    }
}

/// The names that count most, and how much.
fn most(counts: &BTreeMap<String, u64>) -> String {
    let mut pairs: Vec<_> = counts.iter().collect();
    pairs.sort_by_key(|(_, count)| Reverse(**count));
    let shown = pairs
        .iter()
        .take(SHOWN)
        .map(|(name, count)| format!("{name} {count}"));
    let mut list = shown.collect::<Vec<_>>().join(", ");
    if pairs.len() > SHOWN {
        list += &format!(", {} more", pairs.len() - SHOWN);
    }
    list
}

fn environment(report: &Report) -> Section {
    let mut table = Table::with(&["", ""]);
    table.push(["husk".to_owned(), report.husk.clone()]);
    table.push(["image".to_owned(), report.subject.digest.clone()]);
    let kvm = match report.environment.kvm {
        Kvm::Hardware => "hardware",
        Kvm::Software => "software",
        Kvm::None => "none",
    };
    table.push(["kvm".to_owned(), kvm.to_owned()]);
    for (name, value) in report.environment.facts.iter() {
        table.push([name.to_owned(), value.clone()]);
    }
    Section {
        key: "environment".to_owned(),
        title: "Environment".to_owned(),
        texts: Vec::new(),
        tables: vec![table],
    }
}
