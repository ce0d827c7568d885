//! The report of a comparison: every sample, and nothing derived from one.
//!
//! It is JSON, of one version. What a comparison did not measure is absent, and an empty section when
//! read; what a later husk adds is ignored by this one as long as the version stays.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::error::Category;
use thiserror::Error;

use super::ordered::Ordered;
use crate::spec::Cpus;

/// The version of reports that this husk writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The fact of the environment that says what the clock counts.
pub const CLOCK: &str = "clock";

/// The value of [`CLOCK`] in the lab, where a time repeats on any machine.
pub const VIRTUAL: &str = "virtual";

/// Why a file cannot be read as a report.
#[derive(Debug, Error)]
pub enum Error {
    /// It is something else.
    #[error("this is not a report of husk compare: {0}")]
    NotReport(String),
    /// It ends too early.
    #[error("this report is cut off in its line {0}: it was not written to its end")]
    Truncated(usize),
    /// A later husk wrote it.
    #[error("this report is of version {0}, this husk knows version {VERSION}: use a newer husk")]
    Newer(u64),
    /// It is a report, and something in it is not what it should be.
    #[error("this report is damaged: {0}")]
    Damaged(serde_json::Error),
}

/// What one `husk compare` measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// The version of husk that measured.
    pub husk: String,
    /// False for a comparison that was interrupted, and until it is over.
    pub complete: bool,
    /// Where it was measured.
    pub environment: Environment,
    /// What ran.
    pub subject: Subject,
    /// What was to be measured, and how.
    pub plan: Plan,
    /// What the harness adds to what it times, in percent of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harness_overhead_percent: Option<f64>,
    /// What a reader should know: what this host could not give, what was left out and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Starting the command: one element per wall, in the plan's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start: Vec<Start>,
    /// Memory, and starts beside running instances: one element per wall.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub footprint: Vec<Footprint>,
    /// What the probe measured inside the walls: one element per wall and probe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub work: Vec<Work>,
    /// Whether the command did the same behind each wall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parity: Option<Parity>,
    /// What of the host each wall leaves within reach: one element per wall.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub surface: Vec<Surface>,
}

/// The host, as far as it bears on the figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The kind of KVM that the host has.
    pub kvm: Kvm,
    /// Everything else, named as it is shown, in the order in which it is shown: `cpu`, `cpus`,
    /// `memory`, `host kernel`, `guest kernel`, `microcode`, `mitigations`, `governor`, `smt`, `thp`,
    /// `ksm`, `nested`, `cgroups`. What the host does not tell is absent.
    #[serde(default)]
    pub facts: Ordered<String>,
}

/// Which KVM ran the machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kvm {
    /// The processor's own virtualization.
    Hardware,
    /// Guest kernels are interpreted.
    Software,
    /// There is none, or no wall needed it.
    #[default]
    None,
}

/// What ran behind every wall.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The image's reference.
    pub image: String,
    /// The digest of its manifest.
    pub digest: String,
    /// The whole argument vector.
    pub command: Vec<String>,
    /// The memory limit, in bytes.
    pub memory_bytes: u64,
    /// The limit of CPUs.
    pub cpus: Cpus,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The walls in the order asked for. The first one is what the others are compared with.
    pub walls: Vec<String>,
    /// The suites.
    pub suites: Vec<String>,
    /// Starts per wall that count. Of a comparison by time: as many as fitted.
    pub samples: u32,
    /// Starts per wall before those.
    pub warmups: u32,
    /// Whether the page cache was dropped before each start.
    pub cold: bool,
}

/// The starts of one wall.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The wall.
    pub wall: String,
    /// One per start that succeeded, in the order in which they ran.
    #[serde(default)]
    pub samples: Vec<StartSample>,
    /// Starts that failed. None of them is among the samples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<FailedRun>,
}

/// One start, from the moment its command line was executed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StartSample {
    /// To the first byte of output, in milliseconds; absent when there was no output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    /// To the end of the process, in milliseconds.
    pub exit_ms: f64,
    /// The phases that the wall told, in milliseconds, in the order in which they ended.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub phases_ms: Ordered<f64>,
}

/// Starts that failed alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRun {
    /// The exit status.
    pub status: i32,
    /// The last line that was said about it.
    pub message: String,
    /// How many did.
    pub count: u32,
}

/// The memory of one wall's instances, and starts beside them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    /// The wall.
    pub wall: String,
    /// One per number of instances, rising.
    #[serde(default)]
    pub points: Vec<FootprintPoint>,
    /// One per number of parallel starters, rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throughput: Vec<Throughput>,
}

/// What a number of identical instances cost together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FootprintPoint {
    /// How many ran.
    pub instances: u32,
    /// The proportional set size of all their processes, in KiB.
    pub pss_kib: u64,
    /// What the host kernel spent on them, in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_kib: Option<u64>,
    /// What the last of them added, processes and kernel, in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marginal_kib: Option<u64>,
    /// How long the start of one more took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<f64>,
}

/// How fast several starters start instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// How many started at the same time.
    pub parallel: u32,
    /// Starts per second, all of them together.
    pub starts_per_second: f64,
}

/// What one probe measured behind one wall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// The wall.
    pub wall: String,
    /// The suite that the probe belongs to.
    pub suite: String,
    /// The probe.
    pub probe: String,
    /// The unit of its samples.
    pub unit: String,
    /// Which samples are the better ones.
    pub better: Better,
    /// Every sample, in the order in which they were taken.
    #[serde(deserialize_with = "numbers")]
    pub samples: Vec<f64>,
}

/// The good direction of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Times, sizes.
    Lower,
    /// Rates.
    Higher,
}

/// Whether the command did the same behind each wall.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parity {
    /// It did.
    pub equal: bool,
    /// Where it did not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// One thing that was not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What.
    pub what: Aspect,
    /// The file that differs, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What it was, by wall, in the plan's order.
    pub walls: Ordered<String>,
}

/// What a command leaves behind that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aspect {
    /// The exit status.
    Status,
    /// Its output.
    Stdout,
    /// Its output on stderr.
    Stderr,
    /// The files that it changed.
    Files,
}

impl Aspect {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Files => "files",
        }
    }
}

/// What of the host one wall leaves within the workload's reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surface {
    /// The wall.
    pub wall: String,
    /// Host system calls made for the workload, by name: how many.
    #[serde(default)]
    pub syscalls: BTreeMap<String, u64>,
    /// Host ioctls, by name: how many.
    #[serde(default)]
    pub ioctls: BTreeMap<String, u64>,
    /// Exits of virtual CPUs, by reason: how many.
    #[serde(default)]
    pub exits: BTreeMap<String, u64>,
    /// Capabilities of the process that serves the workload, or is it.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Its seccomp mode.
    #[serde(default)]
    pub seccomp: String,
    /// Whether it can gain no privileges.
    #[serde(default)]
    pub no_new_privs: bool,
    /// Whether it is in a user namespace of its own.
    #[serde(default)]
    pub user_namespace: bool,
    /// What else a reader should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Environment {
    /// Whether its clock counts instructions, so that a time repeats.
    pub fn clock_counts(&self) -> bool {
        self.facts.get(CLOCK).is_some_and(|clock| clock == VIRTUAL)
    }
}

impl Report {
    /// A report without a measurement, not complete.
    pub fn begin(environment: Environment, subject: Subject, plan: Plan) -> Self {
        Self {
            version: VERSION,
            husk: env!("CARGO_PKG_VERSION").to_owned(),
            complete: false,
            environment,
            subject,
            plan,
            harness_overhead_percent: None,
            notes: Vec::new(),
            start: Vec::new(),
            footprint: Vec::new(),
            work: Vec::new(),
            parity: None,
            surface: Vec::new(),
        }
    }

    /// Reads the report in `json`.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        // The version decides before the rest is looked at: a newer report may have another shape.
        let value: Value = serde_json::from_slice(json).map_err(not_json)?;
        let version = value.get("version").and_then(Value::as_u64);
        match version.filter(|_| value.get("husk").is_some_and(Value::is_string)) {
            Some(version) if version > u64::from(VERSION) => Err(Error::Newer(version)),
            Some(1..) => serde_json::from_slice(json).map_err(Error::Damaged),
            _ => Err(Error::NotReport(
                "it has no version of husk in it".to_owned(),
            )),
        }
    }

    /// The report as JSON, for people and programs, with a newline at its end.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        json.expect("a report is plain data with names as keys") + "\n"
    }
}

fn not_json(error: serde_json::Error) -> Error {
    match error.classify() {
        Category::Eof if error.line() > 1 || error.column() > 0 => Error::Truncated(error.line()),
        Category::Eof => Error::NotReport("it is empty".to_owned()),
        _ => Error::NotReport(error.to_string()),
    }
}

/// JSON has no infinity and writes `null` for one. A sample that is no number must not cost the
/// report it stands in: it is read as NaN, which every figure leaves out.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let samples = Vec::<Option<f64>>::deserialize(deserializer)?;
    Ok(samples.into_iter().map(|s| s.unwrap_or(f64::NAN)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Report {
        let plan = Plan {
            walls: vec!["vm".to_owned()],
            ..Plan::default()
        };
        let mut report = Report::begin(Environment::default(), Subject::default(), plan);
        report.start.push(Start {
            wall: "vm".to_owned(),
            samples: vec![StartSample {
                first_byte_ms: None,
                exit_ms: 12.5,
                phases_ms: [("kvm", 2.0), ("image", 1.0)].into_iter().collect(),
            }],
            failures: Vec::new(),
        });
        report
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let json = small().to_json();
        assert_eq!(Report::parse(json.as_bytes()).unwrap(), small());
    }

    #[test]
    fn what_was_not_measured_is_empty() {
        let json = r#"{"version":1,"husk":"0.1.0","complete":true,"later":1,
            "environment":{"kvm":"software"},
            "subject":{"image":"a","digest":"b","command":[],"memory_bytes":1,"cpus":1},
            "plan":{"walls":[],"suites":[],"samples":0,"warmups":0,"cold":false}}"#;
        let report = Report::parse(json.as_bytes()).unwrap();
        assert_eq!(report.environment.kvm, Kvm::Software);
        assert!(report.start.is_empty() && report.parity.is_none());
    }

    #[test]
    fn a_sample_that_is_no_number_is_kept_as_none() {
        let mut report = small();
        report.work.push(Work {
            wall: "vm".to_owned(),
            suite: "cpu".to_owned(),
            probe: "integer".to_owned(),
            unit: "ns".to_owned(),
            better: Better::Lower,
            samples: vec![1.0, f64::INFINITY],
        });
        let read = Report::parse(report.to_json().as_bytes()).unwrap();
        assert!(read.work[0].samples[1].is_nan());
    }

    #[test]
    fn what_cannot_be_read_is_one_clear_line() {
        let json = small().to_json();
        let newer = json.replacen("\"version\": 1", "\"version\": 7", 1);
        let damaged = json.replacen("12.5", "\"soon\"", 1);
        let cases: [(&[u8], &str); 9] = [
            (b"", "not a report of husk compare: it is empty"),
            (b"hello", "not a report of husk compare: expected value"),
            (b"\xff\xfe", "not a report of husk compare"),
            (b"[1, 2]", "no version of husk"),
            (br#"{"version":1}"#, "no version of husk"),
            (br#"{"version":0,"husk":"x"}"#, "no version of husk"),
            (&json.as_bytes()[..json.len() / 2], "cut off in its line"),
            (newer.as_bytes(), "of version 7, this husk knows version 1"),
            (damaged.as_bytes(), "damaged: invalid type: string \"soon\""),
        ];
        for (text, expected) in cases {
            let error = Report::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
