//! A container halted whole, by its control group.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::cgroups::{Kind, ROOT, path};

/// How long the kernel may take: a process that waits for a disk stands when that has answered.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often is looked whether it is done.
const OFTEN: Duration = Duration::from_millis(2);

/// What halts one container.
#[derive(Debug)]
pub struct Freezer {
    order: PathBuf,
    /// What is written to halt it, and to let it go on.
    words: [&'static str; 2],
    report: PathBuf,
    /// What is read there when it is done.
    signs: [&'static str; 2],
}

impl Freezer {
    /// That of the container `id`; none where control groups are not ours, or cannot.
    pub(super) fn of(id: &str, kind: Kind) -> Option<Self> {
        let group = |tree: &str| Path::new(ROOT).join(tree).join(&path(id)[1..]);
        let freezer = match kind {
            Kind::Unified => Self {
                order: group("").join("cgroup.freeze"),
                words: ["1", "0"],
                report: group("").join("cgroup.events"),
                signs: ["frozen 1", "frozen 0"],
            },
            Kind::PerController => Self {
                order: group("freezer").join("freezer.state"),
                words: ["FROZEN", "THAWED"],
                report: group("freezer").join("freezer.state"),
                signs: ["FROZEN", "THAWED"],
            },
            Kind::Absent => return None,
        };
        freezer.order.exists().then_some(freezer)
    }

    /// Halts it, and comes back when it stands.
    pub fn freeze(&self) -> io::Result<()> {
        self.bring_about(0)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> io::Result<()> {
        self.bring_about(1)
    }

    fn bring_about(&self, which: usize) -> io::Result<()> {
        fs::write(&self.order, self.words[which])?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = fs::read_to_string(&self.report)?;
            if report.lines().any(|line| line == self.signs[which]) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sleep(OFTEN);
        }
    }
}
