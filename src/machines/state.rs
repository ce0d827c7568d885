//! How far a machine is.
//!
//! ```text
//!            start            end
//!  created ────────▶ running ─────▶ exited ──┐ start
//!                    ▲   │  ▲                │
//!          its time  │   │  └────────────────┘
//!                 restarting ◀ by --restart
//! ```
//!
//! What runs can be paused, and is running again then, or ended.
//!
//! The keeper writes it, whole and atomically. What it says of a machine that runs is true as long as the
//! keeper lives, and whether it does, only its lock says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::health::Health;
use crate::spec::time::Nanoseconds;
use crate::spec::{Published, Seat};

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, and never started.
    #[default]
    Created,
    /// Its workload runs.
    Running,
    /// It is halted, and can go on.
    Paused,
    /// Waiting to be started again.
    Restarting,
    /// Ended.
    Exited,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Restarting,
        Self::Exited,
    ];

    /// Whether a keeper must be alive for it to be true.
    pub fn needs_keeper(self) -> bool {
        self.is_up() || self == Self::Restarting
    }

    /// Whether its workload has begun, and not ended.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        })
    }
}

/// What the keeper knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// In one word.
    pub status: Status,
    /// The keeper's process, as it is numbered where it runs; 0 when there is none.
    pub pid: u32,
    /// When the workload started last; 0 for never.
    pub started: Nanoseconds,
    /// When it ended last; 0 for never.
    pub finished: Nanoseconds,
    /// How it ended, in docker's numbers.
    pub exit_code: u8,
    /// Ports of the host's that lead to it, while it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Published>,
    /// Its places on networks, while it runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seats: Vec<Seat>,
    /// Why it did not start, or was lost.
    pub error: String,
    /// How often it was started again by itself.
    pub restarts: u32,
    /// Whether its workload is well, where that is checked.
    pub health: Option<Health>,
    /// Whether somebody asked for the end, so that it is not started again.
    pub stopping: bool,
}

/// What stands in the state of a machine whose keeper is dead.
pub(super) const LOST: &str = "its keeper was killed";

/// The status of what ended with its keeper: SIGKILL's.
const KILLED: u8 = 137;

impl State {
    /// The truth about what a keeper wrote that is dead now.
    pub(super) fn of_the_dead(mut self) -> Self {
        if self.status.is_up() {
            self.exit_code = KILLED;
        }
        self.status = Status::Exited;
        self.pid = 0;
        self.seats.clear();
        self.finished = self.finished.max(self.started);
        LOST.clone_into(&mut self.error);
        self
    }
}
