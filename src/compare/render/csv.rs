//! Every sample on a line of its own (RFC 4180): `section,wall,name,unit,index,value`.

use crate::compare::report::{FootprintPoint, Report};

/// The report's samples in long form. What a wall has no sample of has no line.
pub fn csv(report: &Report) -> String {
    let mut lines = Lines("section,wall,name,unit,index,value\r\n".to_owned());
    starts(report, &mut lines);
    for footprint in &report.footprint {
        let mut put = |name: &str, unit: &str, index: u32, value: f64| {
            lines.put(
                ["footprint", &footprint.wall, name, unit],
                index as usize,
                value,
            );
        };
        for point in &footprint.points {
            for (name, unit, value) in values(point) {
                put(name, unit, point.instances, value);
            }
        }
        for point in &footprint.throughput {
            put(
                "starts in parallel",
                "1/s",
                point.parallel,
                point.starts_per_second,
            );
        }
    }
    for work in &report.work {
        for (index, value) in work.samples.iter().enumerate() {
            lines.put(
                [&work.suite, &work.wall, &work.probe, &work.unit],
                index,
                *value,
            );
        }
    }
    for surface in &report.surface {
        let kinds = [
            ("syscall", &surface.syscalls),
            ("ioctl", &surface.ioctls),
            ("exit", &surface.exits),
        ];
        for (kind, counts) in kinds {
            for (name, count) in counts {
                lines.put([kind, &surface.wall, name, "count"], 0, *count as f64);
            }
        }
    }
    lines.0
}

fn starts(report: &Report, lines: &mut Lines) {
    for start in &report.start {
        let wall = start.wall.as_str();
        for (index, sample) in start.samples.iter().enumerate() {
            if let Some(value) = sample.first_byte_ms {
                lines.put(["start", wall, "first byte", "ms"], index, value);
            }
            lines.put(["start", wall, "exit", "ms"], index, sample.exit_ms);
            for (phase, value) in sample.phases_ms.iter() {
                lines.put(["phase", wall, phase, "ms"], index, *value);
            }
        }
        for failure in &start.failures {
            let status = format!("status {}", failure.status);
            lines.put(
                ["failure", wall, &status, "count"],
                0,
                f64::from(failure.count),
            );
        }
    }
}

/// What a point has, by the number of instances as index.
fn values(point: &FootprintPoint) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
    let kib = |value: u64| value as f64;
    let values = [
        ("PSS", "KiB", Some(kib(point.pss_kib))),
        ("kernel", "KiB", point.kernel_kib.map(kib)),
        ("marginal", "KiB", point.marginal_kib.map(kib)),
        ("start beside", "ms", point.start_ms),
    ];
    values
        .into_iter()
        .filter_map(|(name, unit, value)| Some((name, unit, value?)))
}

struct Lines(String);

impl Lines {
    fn put(&mut self, texts: [&str; 4], index: usize, value: f64) {
        for text in texts {
            self.0 += &field(text);
            self.0.push(',');
        }
        self.0 += &format!("{index},{value}\r\n");
    }
}

/// A field in quotes when it needs them. A spreadsheet would run what begins like a formula.
fn field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::testing;

    #[test]
    fn every_sample_has_its_line() {
        let report = testing::report();
        let text = csv(&report);
        let starts = text
            .lines()
            .filter(|line| line.starts_with("start,"))
            .count();
        assert_eq!(starts, 3 * 2 * testing::STARTS as usize);
        let work = text
            .lines()
            .filter(|line| line.starts_with("syscall,vm,getpid,ns,"));
        assert_eq!(work.count(), 20);
        assert!(text.lines().all(|line| line.split(',').count() == 6));
        assert!(text.contains("footprint,vm,PSS,KiB,50,"));
        assert!(text.contains("ioctl,vm,KVM_RUN,count,0,4018"));
    }

    #[test]
    fn odd_names_are_quoted() {
        assert_eq!(field(r#"a,"b""#), r#""a,""b""""#);
        assert_eq!(field("=1+1"), "'=1+1");
    }
}
