//! Every start as a dot, a lane per wall.

use super::svg::{Anchor, Axis, Drawing};
use crate::compare::render::words::{ending, number};
use crate::compare::statistics::Sample;
use crate::compare::summary::{Row, Summary};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 130.0;
const TOP: f64 = 12.0;
const LANE: f64 = 84.0;

/// Times this far apart need a logarithmic axis to be seen both.
const APART: f64 = 12.0;

/// Dots this close in a lane are put above each other.
const DOT: f64 = 6.0;

/// The distribution of one of the start's times.
pub fn chart(summary: &Summary, row: &Row) -> String {
    let walls = summary.walls.iter().zip(&row.samples).enumerate();
    let lanes: Vec<_> = walls
        .filter(|(_, (_, sample))| !sample.is_empty())
        .collect();
    let values: Vec<f64> = row
        .samples
        .iter()
        .flat_map(|s| s.sorted())
        .copied()
        .collect();
    let axis = Axis::over(&values, APART, LEFT, WIDTH - 20.0);
    // The last lane's percentile is written below it.
    let bottom = TOP + LANE * lanes.len() as f64 + 8.0;
    let mut drawing = Drawing::new(WIDTH, bottom + 38.0);
    grid(&mut drawing, &axis, &row.unit, bottom);
    for (lane, (wall, (name, sample))) in lanes.into_iter().enumerate() {
        let middle = TOP + LANE * (lane as f64 + 0.5);
        let count = format!("n {}", sample.len());
        drawing.mark(wall, (6.0, middle - 4.0), 5.0, "mark");
        drawing.text((18.0, middle), Anchor::Start, "bold", &ending(name, 16));
        drawing.text((18.0, middle + 16.0), Anchor::Start, "soft", &count);
        dots(&mut drawing, &axis, wall, (middle, sample));
        quantiles(&mut drawing, &axis, middle, sample);
    }
    let scale = if axis.is_logarithmic() {
        "; logarithmic"
    } else {
        ""
    };
    drawing.figure(&format!(
        "{}, {}{scale}: each mark is one start; the line is the median, the dashed line the 95th percentile.",
        capital(&row.name),
        row.unit
    ))
}

/// Upright rules at round values, labelled below.
pub fn grid(drawing: &mut Drawing, axis: &Axis, unit: &str, bottom: f64) {
    for tick in axis.ticks() {
        let x = axis.place(tick);
        drawing.line((x, TOP), (x, bottom), "rule");
        drawing.text((x, bottom + 16.0), Anchor::Middle, "soft", &short(tick));
    }
    drawing.line((LEFT, bottom), (WIDTH - 20.0, bottom), "axis");
    drawing.text((WIDTH - 20.0, bottom + 33.0), Anchor::End, "soft", unit);
}

/// A round value without the digits that do not count.
pub fn short(value: f64) -> String {
    format!("{}", (value * 1e9).round() / 1e9)
}

pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

fn dots(drawing: &mut Drawing, axis: &Axis, wall: usize, (middle, sample): (f64, &Sample)) {
    let places: Vec<f64> = sample.sorted().iter().map(|v| axis.place(*v)).collect();
    let piles: Vec<&[f64]> = places
        .chunk_by(|a, b| (a / DOT).floor() == (b / DOT).floor())
        .collect();
    let highest = piles.iter().map(|pile| pile.len()).max().unwrap_or(1);
    let step = DOT.min((LANE - 36.0) / highest as f64);
    for pile in piles {
        for (at, x) in pile.iter().enumerate() {
            // Around the lane's middle: up, down, up.
            let away = at.div_ceil(2) as f64 * step;
            let y = if at % 2 == 0 {
                middle + away
            } else {
                middle - away
            };
            drawing.mark(wall, (*x, y), 2.6, "dot");
        }
    }
}

fn quantiles(drawing: &mut Drawing, axis: &Axis, middle: f64, sample: &Sample) {
    let (top, bottom) = (middle - LANE / 2.0 + 14.0, middle + LANE / 2.0 - 14.0);
    if let Some(median) = sample.median() {
        let x = axis.place(median);
        drawing.line((x, top), (x, bottom), "one");
        let label = format!("p50 {}", number(median));
        drawing.text((x, top - 2.0), Anchor::Middle, "", &label);
    }
    if let Some(p95) = sample.percentile(95.0).filter(|_| sample.len() > 1) {
        let x = axis.place(p95);
        drawing.line((x, top), (x, bottom), "one dash");
        let label = format!("p95 {}", number(p95));
        drawing.text((x, bottom + 11.0), Anchor::Middle, "soft", &label);
    }
}
