//! Results, one JSON object per line; failures, one line each.

use std::io::{self, Write};

/// A measured value and how to read it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    value: f64,
    unit: &'static str,
    better: &'static str,
}

impl Figure {
    /// A time, nanoseconds.
    pub fn time(nanoseconds: f64) -> Self {
        Self {
            value: nanoseconds,
            unit: "ns",
            better: "lower",
        }
    }

    /// A throughput, 10^9 bytes a second: `bytes` in every `nanoseconds`.
    pub fn throughput(bytes: u32, nanoseconds: f64) -> Self {
        Self {
            value: f64::from(bytes) / nanoseconds,
            unit: "GB/s",
            better: "higher",
        }
    }
}

/// Writes down what is measured.
#[derive(Debug)]
pub struct Report<O, E> {
    results: O,
    failures: E,
    count: usize,
}

impl<O: Write, E: Write> Report<O, E> {
    /// A report without anything in it.
    pub fn new(results: O, failures: E) -> Self {
        Self {
            results,
            failures,
            count: 0,
        }
    }

    /// Whether nothing could be measured so far.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes what a probe measured, or why it could not. `suite` and `probe` are plain words.
    pub fn take(&mut self, suite: &str, probe: &str, measured: io::Result<Figure>) {
        let written = measured.and_then(Figure::checked).and_then(|figure| {
            let Figure {
                value,
                unit,
                better,
            } = figure;
            writeln!(
                self.results,
                r#"{{"suite":"{suite}","probe":"{probe}","unit":"{unit}","better":"{better}","value":{value}}}"#
            )
        });
        match written {
            Ok(()) => self.count += 1,
            Err(error) => {
                // Nobody is left to tell.
                let _closed = writeln!(self.failures, "husk-probe: {suite}.{probe}: {error}");
            }
        }
    }
}

impl Figure {
    /// A clock that stood still, or went backwards, has measured nothing.
    fn checked(self) -> io::Result<Self> {
        if self.value.is_finite() && self.value > 0.0 {
            Ok(self)
        } else {
            Err(io::Error::other("the clock does not move"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_failures_are_one_line_each() {
        let mut report = Report::new(Vec::new(), Vec::new());
        assert!(report.is_empty());
        let refused = io::Error::from_raw_os_error(libc::EPERM);
        report.take("net", "latency", Err(refused));
        report.take("cpu", "integer", Ok(Figure::time(f64::NAN)));
        assert!(report.is_empty());
        report.take("syscall", "getpid", Ok(Figure::time(123.5)));
        report.take("memory", "copy", Ok(Figure::throughput(1, 1e12)));
        assert!(!report.is_empty());
        assert_eq!(
            String::from_utf8(report.results).unwrap(),
            "{\"suite\":\"syscall\",\"probe\":\"getpid\",\"unit\":\"ns\",\"better\":\"lower\",\"value\":123.5}\n\
             {\"suite\":\"memory\",\"probe\":\"copy\",\"unit\":\"GB/s\",\"better\":\"higher\",\"value\":0.000000000001}\n"
        );
        assert_eq!(
            String::from_utf8(report.failures).unwrap(),
            "husk-probe: net.latency: Operation not permitted (os error 1)\n\
             husk-probe: cpu.integer: the clock does not move\n"
        );
    }
}
