//! Numbers, ratios and strange texts as a reader gets them.

use crate::compare::report::Report;
use crate::compare::statistics::Verdict;
use crate::compare::summary::{Relation, Row};

/// Three digits that count; from 1000 on, all of the whole number.
pub fn number(value: f64) -> String {
    // Rounding decides, so that 9.996 is 10.0 and not 10.00.
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        v if v >= 0.9995 => format!("{value:.2}"),
        v if v >= 0.0995 => format!("{value:.3}"),
        v if v >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

/// What to multiply a figure with, and the unit it then has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale<'a> {
    pub factor: f64,
    pub unit: &'a str,
}

/// Units that grow into each other, and by how much.
const LADDERS: [&[(&str, f64)]; 4] = [
    &[("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)],
    &[("us", 1.0), ("ms", 1e3), ("s", 1e6)],
    &[("KiB", 1.0), ("MiB", 1024.0), ("GiB", 1_048_576.0)],
    &[("MiB/s", 1.0), ("GiB/s", 1024.0)],
];

impl<'a> Scale<'a> {
    /// The largest unit in which `smallest`, given in `unit`, is at least 1.
    pub fn of(unit: &'a str, smallest: f64) -> Self {
        let place = LADDERS.iter().find_map(|ladder| {
            let at = ladder.iter().position(|(name, _)| *name == unit)?;
            Some((ladder, at))
        });
        let Some((ladder, at)) = place else {
            return Self { factor: 1.0, unit };
        };
        let value = smallest * ladder[at].1;
        let steps = ladder.iter().skip(at).rev();
        let fits = steps.into_iter().find(|(_, size)| value >= *size);
        let (unit, size) = *fits.unwrap_or(&ladder[at]);
        Self {
            factor: ladder[at].1 / size,
            unit,
        }
    }

    /// The one scale in which the medians of all walls are shown.
    pub fn of_row(row: &'a Row) -> Self {
        let medians = row.samples.iter().filter_map(|sample| sample.median());
        let smallest = medians.filter(|m| *m > 0.0).fold(f64::INFINITY, f64::min);
        let smallest = if smallest.is_finite() { smallest } else { 0.0 };
        Self::of(&row.unit, smallest)
    }

    /// `value` in this scale.
    pub fn show(self, value: Option<f64>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| number(value * self.factor))
    }
}

/// A ratio: its hundredths are enough, and even around 1.
pub fn times(value: f64) -> String {
    match value {
        v if (0.0995..9.995).contains(&v) => format!("{v:.2}"),
        v => number(v),
    }
}

/// `1.53 [1.48, 1.59]`, or why there is no ratio.
pub fn ratio(relation: Relation) -> String {
    match relation {
        Relation::Interval(ratio) => {
            let [value, low, high] = [ratio.value, ratio.low, ratio.high].map(times);
            format!("{value} [{low}, {high}]")
        }
        Relation::Single(value) => times(value),
        Relation::TooFew => "n too small".to_owned(),
        Relation::Undefined => "no ratio".to_owned(),
        Relation::Absent => "-".to_owned(),
    }
}

/// What the ratio says of the first wall.
pub fn verdict(row: &Row, relation: Relation) -> &'static str {
    let size = row.unit.ends_with('B');
    match relation {
        Relation::Interval(ratio) => match ratio.verdict() {
            Verdict::NoDifference => "no difference",
            Verdict::Larger if size => "more",
            Verdict::Larger => "slower",
            Verdict::Smaller if size => "less",
            Verdict::Smaller => "faster",
        },
        Relation::Single(_) => "one value",
        Relation::TooFew | Relation::Undefined | Relation::Absent => "",
    }
}

/// A text of a stranger (an image's name, a program's message) on one line, its control characters shown.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The last `most` characters of a text, marked when that is not all: the end tells two paths apart.
pub fn ending(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(length + 1 - most).collect();
    format!("…{kept}")
}

/// What was compared, as a title.
pub fn title(report: &Report) -> String {
    plain(&format!("husk compare {}", report.subject.image))
}

/// How it was measured, as a sentence.
pub fn method(report: &Report) -> String {
    let plan = &report.plan;
    let walls = plan.walls.join(", ");
    let cache = if plan.cold { "cold" } else { "warm" };
    let mut text = format!(
        "{} behind {walls}: {} starts each in turns, after {} to warm up, page cache {cache}, {} MiB, {} CPU.",
        quoted(&report.subject.command),
        plan.samples,
        plan.warmups,
        report.subject.memory_bytes >> 20,
        report.subject.cpus
    );
    if let Some(overhead) = report.harness_overhead_percent {
        text += &format!(" The harness itself adds {}%.", number(overhead));
    }
    plain(&text)
}

fn quoted(command: &[String]) -> String {
    let words = command.iter().map(|word| {
        let bare = !word.is_empty() && !word.contains([' ', '"', '\'', '\\', '\n', '\t']);
        if bare {
            word.clone()
        } else {
            format!("{word:?}")
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.000_02, "2.0e-5"),
            (0.12345, "0.123"),
            (9.996, "10.0"),
            (12.345, "12.3"),
            (99.96, "100"),
            (123_456.7, "123457"),
            (f64::INFINITY, "inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn the_smallest_value_chooses_the_unit() {
        let shown = |unit, value| {
            let scale = Scale::of(unit, value);
            format!("{} {}", scale.show(Some(value)), scale.unit)
        };
        assert_eq!(shown("ns", 410_000.0), "410 µs");
        assert_eq!(shown("ns", 0.3), "0.300 ns");
        assert_eq!(shown("KiB", 21_000.0), "20.5 MiB");
        assert_eq!(shown("ms", 0.5), "0.500 ms");
        assert_eq!(shown("parsecs", 5.0), "5.00 parsecs");
        assert_eq!(Scale::of("ns", 1.0).show(None), "-");
    }

    #[test]
    fn strange_texts_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(ending("/usr/local/bin/crun", 8), "…in/crun");
        assert_eq!(
            quoted(&["sh".into(), "-c".into(), "a b".into()]),
            r#"sh -c "a b""#
        );
    }
}
