//! Phases of a run, on one clock: both walls fill the same [`Timeline`], so that they compare.

use std::time::{Duration, Instant};

/// A stretch of a run; each ends where the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Finding the image and making its root file system ready.
    Image,
    /// Opening files and starting the process of the machine.
    Prepare,
    /// Building the machine, up to its first instruction.
    Build,
    /// The guest kernel, up to init's first word.
    Boot,
    /// Init: mounts, identity, user, streams, up to the workload's exec.
    Setup,
    /// The workload itself.
    Workload,
    /// Killing leftovers, draining streams, syncing.
    Finish,
    /// Taking the machine down.
    Stop,
}

impl Phase {
    /// The phase's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Prepare => "prepare",
            Self::Build => "build",
            Self::Boot => "boot",
            Self::Setup => "setup",
            Self::Workload => "workload",
            Self::Finish => "finish",
            Self::Stop => "stop",
        }
    }
}

/// The phases of one run, as they ended.
#[derive(Debug, Clone)]
pub struct Timeline {
    start: Instant,
    last: Instant,
    phases: Vec<(Phase, Duration)>,
}

impl Timeline {
    /// Starts the clock.
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            start: now,
            last: now,
            phases: Vec::new(),
        }
    }

    /// Ends `phase` now; it began where the one before ended.
    pub fn end(&mut self, phase: Phase) {
        let now = Instant::now();
        self.phases.push((phase, now - self.last));
        self.last = now;
    }

    /// The phases so far and how long each took.
    pub fn phases(&self) -> &[(Phase, Duration)] {
        &self.phases
    }

    /// From the start to the end of the last phase.
    pub fn total(&self) -> Duration {
        self.last - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_add_up_to_the_total() {
        let mut timeline = Timeline::start();
        for phase in [Phase::Image, Phase::Boot, Phase::Workload] {
            timeline.end(phase);
        }
        let sum: Duration = timeline.phases().iter().map(|(_, length)| *length).sum();
        assert_eq!(sum, timeline.total());
    }
}
