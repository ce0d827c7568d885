//! The median phases of a start, one after another, a bar per wall.

use super::starts::grid;
use super::svg::{Anchor, Axis, Drawing};
use crate::compare::ordered::Ordered;
use crate::compare::render::words::{ending, number, plain};
use crate::compare::summary::Summary;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 130.0;
const BAR: f64 = 34.0;
const TOP: f64 = 12.0;

/// The width of a character, about.
const CHARACTER: f64 = 7.0;

/// Hatches, so that neighbours differ without colour.
const HATCHES: [&str; 10] = [
    "",
    "M0 8L8 0M-2 2L2 -2M6 10L10 6",
    "M2 2h1M6 6h1",
    "M0 4h8",
    "M0 0L8 8M-2 6L2 10M6 -2L10 2",
    "M4 0v8",
    "M0 8L8 0M0 0L8 8",
    "M0 4h8M4 0v8",
    "M0 2h4M4 6h4",
    "M2 0v4M6 4v4",
];

/// The bars; nothing when no wall told its phases.
pub fn chart(summary: &Summary) -> Option<String> {
    let bars = &summary.phases;
    let names = names(bars);
    let whole = |phases: &Ordered<f64>| phases.iter().map(|(_, length)| length).sum::<f64>();
    let longest = bars
        .iter()
        .map(|(_, phases)| whole(phases))
        .fold(0.0, f64::max);
    if longest <= 0.0 {
        return None;
    }
    let axis = Axis::linear(longest, LEFT, WIDTH - 20.0);
    let bottom = TOP + (BAR + 20.0) * bars.len() as f64;
    let legend = bottom + 56.0;
    let mut drawing = Drawing::new(WIDTH, legend + rows(&names) * 22.0);
    hatches(&mut drawing);
    grid(&mut drawing, &axis, "ms", bottom);
    for (at, (wall, phases)) in bars.iter().enumerate() {
        let y = TOP + 10.0 + (BAR + 20.0) * at as f64;
        drawing.text(
            (6.0, y + BAR / 2.0),
            Anchor::Start,
            "bold",
            &ending(wall, 16),
        );
        let sum = format!("{} ms", number(whole(phases)));
        drawing.text((6.0, y + BAR / 2.0 + 15.0), Anchor::Start, "soft", &sum);
        bar(&mut drawing, &axis, (y, phases), &names);
    }
    key(&mut drawing, legend, &names);
    Some(drawing.figure(
        "Medians of the phases of a start, in ms. Medians of parts need not add up to the median of the whole.",
    ))
}

fn names(bars: &[(String, Ordered<f64>)]) -> Vec<String> {
    let mut names: Ordered<()> = Ordered::default();
    for (name, _) in bars.iter().flat_map(|(_, phases)| phases.iter()) {
        names.set(plain(name), ());
    }
    names.iter().map(|(name, ())| name.to_owned()).collect()
}

fn hatches(drawing: &mut Drawing) {
    drawing.put(format_args!("<defs>"));
    for (at, path) in HATCHES.iter().enumerate() {
        drawing.put(format_args!(
            "<pattern id=\"hatch{at}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">\
             <rect width=\"8\" height=\"8\" class=\"plate\"/><rect width=\"8\" height=\"8\" class=\"wash\"/>\
             <path d=\"{path}\" class=\"hatch\"/></pattern>"
        ));
    }
    drawing.put(format_args!("</defs>"));
}

fn bar(drawing: &mut Drawing, axis: &Axis, (y, phases): (f64, &Ordered<f64>), names: &[String]) {
    let mut begin = 0.0;
    for (name, length) in phases.iter() {
        let (x, end) = (axis.place(begin), axis.place(begin + length));
        begin += length;
        let at = names.iter().position(|known| *known == plain(name));
        rectangle(drawing, at.unwrap_or(0), (x, y), (end - x, BAR));
        let label = plain(name);
        let width = label.chars().count() as f64 * CHARACTER + 6.0;
        if width + 6.0 < end - x {
            let left = (x + end - width) / 2.0;
            drawing.put(format_args!(
                r#"<rect x="{left:.1}" y="{:.1}" width="{width:.1}" height="18" rx="3" class="plate"/>"#,
                y + BAR / 2.0 - 9.0
            ));
            let middle = (x + end) / 2.0;
            drawing.text((middle, y + BAR / 2.0 + 4.0), Anchor::Middle, "", &label);
        }
    }
}

fn rectangle(drawing: &mut Drawing, hatch: usize, (x, y): (f64, f64), (w, h): (f64, f64)) {
    let hatch = hatch % HATCHES.len();
    drawing.put(format_args!(
        r#"<rect x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" fill="url(#hatch{hatch})" class="bar"/>"#
    ));
}

/// Where each name of the key stands.
fn places(names: &[String]) -> Vec<(f64, f64)> {
    let (mut x, mut row) = (LEFT, 0.0);
    let mut places = Vec::new();
    for name in names {
        let width = name.chars().count() as f64 * CHARACTER + 46.0;
        if x + width > WIDTH && x > LEFT {
            (x, row) = (LEFT, row + 1.0);
        }
        places.push((x, row));
        x += width;
    }
    places
}

fn rows(names: &[String]) -> f64 {
    places(names).last().map_or(0.0, |(_, row)| row + 1.0)
}

fn key(drawing: &mut Drawing, top: f64, names: &[String]) {
    for ((x, row), (at, name)) in places(names).into_iter().zip(names.iter().enumerate()) {
        let y = top + row * 22.0 - 4.0;
        rectangle(drawing, at, (x, y - 11.0), (22.0, 14.0));
        drawing.text((x + 28.0, y), Anchor::Start, "", name);
    }
}
