//! Phases of a run, on one clock: both walls fill the same [`Timeline`], so that they compare.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A part of a run. Time passes in one of them at a time, and may come back to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Finding the image and making its root file system ready.
    Image,
    /// What will run, and in what machine.
    Spec,
    /// Starting the machine's process, and waiting for KVM to have made a VM.
    Kvm,
    /// The machine in it: memory, the kernel in it, devices, up to the first instruction.
    Load,
    /// Namespaces, root file system and control groups of a container.
    Create,
    /// The guest kernel, up to init's first word.
    Kernel,
    /// Init: mounts, identity, user, streams, up to the workload's exec; of a container, from the
    /// order to start to the exec.
    Init,
    /// The workload itself.
    Workload,
    /// Killing leftovers, draining streams, syncing, and taking the machine down.
    Teardown,
}

impl Phase {
    /// The phase's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Spec => "spec",
            Self::Kvm => "kvm",
            Self::Load => "load",
            Self::Create => "create",
            Self::Kernel => "kernel",
            Self::Init => "init",
            Self::Workload => "workload",
            Self::Teardown => "teardown",
        }
    }
}

/// How long each phase of one run took.
#[derive(Debug, Clone)]
pub struct Timeline {
    start: Instant,
    last: Instant,
    phases: BTreeMap<Phase, Duration>,
}

impl Timeline {
    /// Starts the clock.
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            start: now,
            last: now,
            phases: BTreeMap::new(),
        }
    }

    /// Says that what passed since the last call was `phase`.
    pub fn end(&mut self, phase: Phase) {
        let now = Instant::now();
        *self.phases.entry(phase).or_default() += now - self.last;
        self.last = now;
    }

    /// The phases so far, in the order of [`Phase`], and how long each took.
    pub fn phases(&self) -> impl Iterator<Item = (Phase, Duration)> {
        self.phases.iter().map(|(phase, length)| (*phase, *length))
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
        for phase in [Phase::Kvm, Phase::Image, Phase::Kvm, Phase::Workload] {
            timeline.end(phase);
        }
        let sum: Duration = timeline.phases().map(|(_, length)| length).sum();
        assert_eq!(sum, timeline.total());
        let phases: Vec<_> = timeline.phases().map(|(phase, _)| phase).collect();
        assert_eq!(phases, [Phase::Image, Phase::Kvm, Phase::Workload]);
    }
}
