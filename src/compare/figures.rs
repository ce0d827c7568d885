//! The figures of a report: each sample set under one name, whatever section it stands in, so that
//! comparing walls and comparing reports are the same for all of them.

use super::report::{Better, Footprint, FootprintPoint, Report, Start, Work};
use super::statistics::Sample;

/// The suite of the starts.
pub const START: &str = "start";

/// The suite of memory, and of starts beside running instances.
pub const FOOTPRINT: &str = "footprint";

/// The start's figure that every wall has.
pub const EXIT: &str = "exit";

/// What one wall needed, or did, of one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The suite it belongs to.
    pub suite: String,
    /// Its name, unique within the suite.
    pub name: String,
    /// The unit of its samples.
    pub unit: String,
    /// Which samples are the better ones.
    pub better: Better,
    /// The wall.
    pub wall: String,
    /// All its samples.
    pub sample: Sample,
}

/// Every figure of `report` that has a sample: starts, footprint, work.
pub fn figures(report: &Report) -> Vec<Figure> {
    let starts = report.start.iter().flat_map(of_start);
    let footprint = report.footprint.iter().flat_map(of_footprint);
    let work = report.work.iter().map(of_work);
    let all = starts.chain(footprint).chain(work);
    all.filter(|figure| !figure.sample.is_empty()).collect()
}

fn of_start(start: &Start) -> [Figure; 2] {
    let figure = |name: &str, sample| Figure {
        suite: START.to_owned(),
        name: name.to_owned(),
        unit: "ms".to_owned(),
        better: Better::Lower,
        wall: start.wall.clone(),
        sample,
    };
    let first_bytes = start.samples.iter().filter_map(|s| s.first_byte_ms);
    let exits = start.samples.iter().map(|s| s.exit_ms);
    [
        figure("first byte", Sample::of(first_bytes)),
        figure(EXIT, Sample::of(exits)),
    ]
}

fn of_footprint(footprint: &Footprint) -> Vec<Figure> {
    let wall = footprint.wall.as_str();
    let kinds: [fn(&str, &FootprintPoint) -> Option<Figure>; 4] = [pss, kernel, last, beside];
    let points = kinds.iter().flat_map(|kind| {
        let points = footprint.points.iter();
        points.filter_map(move |point| kind(wall, point))
    });
    let rates = footprint.throughput.iter().map(|point| {
        let name = format!("starts, {} in parallel", point.parallel);
        single(wall, name, ("1/s", Better::Higher), point.starts_per_second)
    });
    points.chain(rates).collect()
}

fn pss(wall: &str, point: &FootprintPoint) -> Option<Figure> {
    let name = format!("PSS, {}", instances(point));
    Some(single(wall, name, SIZE, point.pss_kib as f64))
}

fn kernel(wall: &str, point: &FootprintPoint) -> Option<Figure> {
    let name = format!("kernel, {}", instances(point));
    Some(single(wall, name, SIZE, point.kernel_kib? as f64))
}

/// The only instance added all there is, which the other sizes say.
fn last(wall: &str, point: &FootprintPoint) -> Option<Figure> {
    let name = format!("last of {}", instances(point));
    let size = point.marginal_kib.filter(|_| point.instances > 1)?;
    Some(single(wall, name, SIZE, size as f64))
}

fn beside(wall: &str, point: &FootprintPoint) -> Option<Figure> {
    let name = format!("start beside {}", point.instances);
    Some(single(wall, name, ("ms", Better::Lower), point.start_ms?))
}

const SIZE: (&str, Better) = ("KiB", Better::Lower);

fn instances(point: &FootprintPoint) -> String {
    match point.instances {
        1 => "1 instance".to_owned(),
        n => format!("{n} instances"),
    }
}

fn single(wall: &str, name: String, kind: (&str, Better), value: f64) -> Figure {
    Figure {
        suite: FOOTPRINT.to_owned(),
        name,
        unit: kind.0.to_owned(),
        better: kind.1,
        wall: wall.to_owned(),
        sample: Sample::of([value]),
    }
}

fn of_work(work: &Work) -> Figure {
    Figure {
        suite: work.suite.clone(),
        name: work.probe.clone(),
        unit: work.unit.clone(),
        better: work.better,
        wall: work.wall.clone(),
        sample: Sample::of(work.samples.iter().copied()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::testing;

    #[test]
    fn each_figure_has_one_name_per_wall() {
        let mut names: Vec<_> = figures(&testing::report())
            .into_iter()
            .map(|f| (f.suite, f.name, f.wall))
            .collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(all > 20);
    }

    #[test]
    fn a_wall_without_a_sample_has_no_figure() {
        let mut report = testing::report();
        report.start[0].samples.clear();
        let walls = figures(&report).into_iter().filter(|f| f.suite == START);
        assert!(walls.map(|f| f.wall).all(|wall| wall != "vm"));
    }
}
