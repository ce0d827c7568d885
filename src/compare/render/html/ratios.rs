//! What the first wall costs over another one, figure by figure, with how sure that is.

use super::starts::{capital, short};
use super::svg::{Anchor, Axis, Drawing};
use crate::compare::render::words::{ending, plain, ratio};
use crate::compare::statistics::Verdict;
use crate::compare::summary::{Relation, Row, Summary};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 200.0;
const RIGHT: f64 = 590.0;
const TOP: f64 = 34.0;
const LINE: f64 = 22.0;

/// What is drawn, from one place downwards.
enum Entry<'a> {
    Suite(&'a str),
    Figure(&'a Row, Relation),
}

/// The chart of the first wall against the wall at `other`; nothing when they have no figure together.
pub fn chart(summary: &Summary, other: usize) -> Option<String> {
    let entries = entries(summary, other);
    let axis = axis(&entries)?;
    let bottom = TOP + LINE * entries.len() as f64 + 6.0;
    let (first, second) = (plain(&summary.walls[0]), plain(&summary.walls[other]));
    let mut drawing = Drawing::new(WIDTH, bottom + 26.0);
    for tick in axis.ticks() {
        let x = axis.place(tick);
        drawing.line((x, TOP - 8.0), (x, bottom), "rule");
        drawing.text((x, bottom + 16.0), Anchor::Middle, "soft", &short(tick));
    }
    let one = axis.place(1.0);
    drawing.line((one, TOP - 8.0), (one, bottom), "one");
    sides(&mut drawing, &axis, &ending(&first, 14));
    drawing.text((WIDTH, TOP - 14.0), Anchor::End, "soft", "ratio [95%]");
    for (at, entry) in entries.iter().enumerate() {
        let y = TOP + LINE * (at as f64 + 0.5);
        match entry {
            Entry::Suite(suite) => {
                drawing.text((0.0, y + 4.0), Anchor::Start, "bold", &capital(suite));
            }
            Entry::Figure(row, relation) => {
                drawing.text((12.0, y + 4.0), Anchor::Start, "", &ending(&row.name, 28));
                drawing.text((WIDTH, y + 4.0), Anchor::End, "", &ratio(*relation));
                point(&mut drawing, &axis, y, *relation);
            }
        }
    }
    Some(drawing.figure(&format!(
        "{first} against {second}; logarithmic. Filled circle: a difference, with its 95% interval; hollow \
         circle: none beyond chance, or less than 1%; hollow square: one value each, no interval."
    )))
}

fn entries(summary: &Summary, other: usize) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    for suite in summary.suites() {
        let rows = summary.rows.iter().filter(|row| row.suite == suite);
        let figures = rows.filter_map(|row| {
            let relation = *row.relations.get(other - 1)?;
            (relation != Relation::Absent).then_some(Entry::Figure(row, relation))
        });
        let figures: Vec<_> = figures.collect();
        if !figures.is_empty() {
            entries.push(Entry::Suite(suite));
            entries.extend(figures);
        }
    }
    entries
}

/// From the least to the greatest end of an interval, with 1 between them.
fn axis(entries: &[Entry<'_>]) -> Option<Axis> {
    let ends = entries.iter().flat_map(|entry| match entry {
        Entry::Figure(_, Relation::Interval(ratio)) => vec![ratio.low, ratio.value, ratio.high],
        Entry::Figure(_, Relation::Single(value)) => vec![*value],
        _ => Vec::new(),
    });
    let ends: Vec<f64> = ends.filter(|end| *end > 0.0 && end.is_finite()).collect();
    let low = ends.iter().copied().reduce(f64::min)?.min(1.0 / 1.2);
    let high = ends.iter().copied().fold(1.2, f64::max);
    Some(Axis::logarithmic(low, high, LEFT, RIGHT))
}

/// Which side of 1 is which; a side that is too narrow for its words goes without.
fn sides(drawing: &mut Drawing, axis: &Axis, first: &str) {
    let one = axis.place(1.0);
    let worse = format!("{first} slower, more →");
    let better = format!("← {first} faster, less");
    let wide = |text: &str| text.chars().count() as f64 * 6.6;
    if wide(&better) < one {
        drawing.text((one - 6.0, TOP - 14.0), Anchor::End, "soft", &better);
    }
    if one + wide(&worse) < WIDTH - 80.0 {
        drawing.text((one + 6.0, TOP - 14.0), Anchor::Start, "soft", &worse);
    }
}

fn point(drawing: &mut Drawing, axis: &Axis, y: f64, relation: Relation) {
    match relation {
        Relation::Interval(ratio) => {
            let (low, high) = (axis.place(ratio.low), axis.place(ratio.high));
            drawing.line((low, y), (high, y), "one");
            for end in [low, high] {
                drawing.line((end, y - 4.0), (end, y + 4.0), "one");
            }
            let class = match ratio.verdict() {
                Verdict::NoDifference => "hollow",
                Verdict::Larger | Verdict::Smaller => "mark",
            };
            drawing.mark(0, (axis.place(ratio.value), y), 4.5, class);
        }
        Relation::Single(value) => drawing.square(0, (axis.place(value), y), 4.0, "hollow"),
        Relation::TooFew | Relation::Undefined | Relation::Absent => {}
    }
}
