//! Memory and speed over the number of instances, a curve per wall.

use super::starts::short;
use super::svg::{Anchor, Axis, Drawing, colour};
use crate::compare::render::words::{Scale, ending};
use crate::compare::report::{Footprint, Report};
use crate::compare::summary::Summary;

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 285.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 216.0;

/// One wall's curve.
struct Curve {
    wall: usize,
    name: String,
    points: Vec<(f64, f64)>,
}

/// The charts that the report has points for.
pub fn charts(report: &Report, summary: &Summary) -> String {
    let curves = |points: &dyn Fn(&Footprint) -> Vec<(f64, f64)>| -> Vec<Curve> {
        let curve = |footprint: &Footprint| {
            let wall = summary
                .walls
                .iter()
                .position(|wall| *wall == footprint.wall)?;
            Some(Curve {
                wall,
                name: footprint.wall.clone(),
                points: points(footprint),
            })
        };
        let all = report.footprint.iter().filter_map(curve);
        all.filter(|curve| !curve.points.is_empty()).collect()
    };
    let memory = curves(&|footprint| {
        let points = footprint.points.iter();
        let kib = points.map(|p| (p.instances, p.pss_kib + p.kernel_kib.unwrap_or(0)));
        kib.map(|(n, kib)| (f64::from(n), kib as f64)).collect()
    });
    let beside = curves(&|footprint| {
        let points = footprint.points.iter();
        points
            .filter_map(|p| Some((f64::from(p.instances), p.start_ms?)))
            .collect()
    });
    let rates = curves(&|footprint| {
        let points = footprint.throughput.iter();
        points
            .map(|p| (f64::from(p.parallel), p.starts_per_second))
            .collect()
    });
    let charts = [
        chart(
            memory,
            "KiB",
            "instances",
            "Memory of all instances, processes and kernel",
        ),
        chart(
            beside,
            "ms",
            "instances",
            "Start of one more, beside running instances",
        ),
        chart(rates, "1/s", "in parallel", "Starts per second"),
    ];
    format!("<div class=\"pair\">\n{}</div>\n", charts.concat())
}

fn chart(mut curves: Vec<Curve>, unit: &str, across: &str, caption: &str) -> String {
    let values = |of: &dyn Fn(&(f64, f64)) -> f64| -> Vec<f64> {
        curves
            .iter()
            .flat_map(|curve| curve.points.iter().map(of))
            .collect()
    };
    let numbers = values(&|point| point.0);
    let highest = values(&|point| point.1).into_iter().fold(0.0, f64::max);
    if numbers.is_empty() {
        return String::new();
    }
    let scale = Scale::of(unit, highest / 4.0);
    for point in curves.iter_mut().flat_map(|curve| &mut curve.points) {
        point.1 *= scale.factor;
    }
    let x = Axis::over(&numbers, 20.0, LEFT + 10.0, RIGHT);
    let y = Axis::linear(highest * scale.factor, BOTTOM, TOP);
    let mut drawing = Drawing::new(WIDTH, HEIGHT);
    axes(&mut drawing, (&x, &y), numbers, across);
    for curve in &curves {
        let points: Vec<_> = curve
            .points
            .iter()
            .map(|p| (x.place(p.0), y.place(p.1)))
            .collect();
        drawing.curve(&points, &format!("{} curve", colour(curve.wall)));
        for point in points {
            drawing.mark(curve.wall, point, 4.0, "mark");
        }
    }
    for (curve, at) in apart(&curves, &y) {
        drawing.text(
            (RIGHT + 12.0, at + 4.0),
            Anchor::Start,
            "",
            &ending(&curve.name, 12),
        );
    }
    let logarithmic = if x.is_logarithmic() {
        "; their number is logarithmic"
    } else {
        ""
    };
    drawing.figure(&format!("{caption}, {}{logarithmic}.", scale.unit))
}

fn axes(drawing: &mut Drawing, (x, y): (&Axis, &Axis), mut numbers: Vec<f64>, across: &str) {
    for tick in y.ticks() {
        let at = y.place(tick);
        drawing.line((LEFT, at), (RIGHT, at), "rule");
        drawing.text((LEFT - 6.0, at + 4.0), Anchor::End, "soft", &short(tick));
    }
    drawing.line((LEFT, BOTTOM), (RIGHT, BOTTOM), "axis");
    numbers.sort_by(f64::total_cmp);
    let mut free = f64::NEG_INFINITY;
    for number in numbers {
        let at = x.place(number);
        // Numbers whose labels would touch go without.
        if at >= free {
            drawing.text((at, BOTTOM + 17.0), Anchor::Middle, "soft", &short(number));
            free = at + 24.0;
        }
    }
    drawing.text((RIGHT, BOTTOM + 35.0), Anchor::End, "soft", across);
}

/// The height of each curve's name: at its last point, and 15 below the name above it.
fn apart<'a>(curves: &'a [Curve], y: &Axis) -> Vec<(&'a Curve, f64)> {
    let last = |curve: &Curve| curve.points.last().map_or(BOTTOM, |point| y.place(point.1));
    let mut places: Vec<_> = curves.iter().map(|curve| (curve, last(curve))).collect();
    places.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut free = f64::NEG_INFINITY;
    for (_, at) in &mut places {
        *at = at.max(free);
        free = *at + 15.0;
    }
    // What was pushed below the chart goes up again, from the lowest.
    let mut limit = BOTTOM;
    for (_, at) in places.iter_mut().rev() {
        *at = at.min(limit);
        limit = *at - 15.0;
    }
    places
}
