//! Whether a machine's workload is well.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::spec::time::Nanoseconds;

/// Checks that are remembered, as docker.
const REMEMBERED: usize = 5;

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wellness {
    /// Nothing is known yet.
    #[default]
    Starting,
    /// The last check went well.
    Healthy,
    /// Too many in a row did not.
    Unhealthy,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// When it began.
    pub start: Nanoseconds,
    /// When it ended.
    pub end: Nanoseconds,
    /// How; 0 is well, -1 that it came to no end of its own.
    pub exit_code: i32,
    /// The beginning of what it said.
    pub output: String,
}

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// In one word.
    pub status: Wellness,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last checks, the newest last.
    pub log: VecDeque<Checked>,
}

impl Health {
    /// Learns of a check; `retries` failures in a row are one too many, but for a forgiven one.
    pub fn take(&mut self, checked: Checked, retries: u32, forgiven: bool) {
        if checked.exit_code == 0 {
            self.status = Wellness::Healthy;
            self.failing_streak = 0;
        } else if !forgiven {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= retries {
                self.status = Wellness::Unhealthy;
            }
        }
        self.log.push_back(checked);
        while self.log.len() > REMEMBERED {
            self.log.pop_front();
        }
    }
}

impl fmt::Display for Wellness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let mut health = Health::default();
        let mut check = |exit_code, forgiven| {
            let checked = Checked {
                start: 1,
                end: 2,
                exit_code,
                output: String::new(),
            };
            health.take(checked, 2, forgiven);
            (health.status, health.failing_streak, health.log.len())
        };
        assert_eq!(check(1, true), (Wellness::Starting, 0, 1));
        assert_eq!(check(1, false), (Wellness::Starting, 1, 2));
        assert_eq!(check(-1, false), (Wellness::Unhealthy, 2, 3));
        assert_eq!(check(0, false), (Wellness::Healthy, 0, 4));
        assert_eq!(check(1, false), (Wellness::Healthy, 1, 5));
        assert_eq!(check(0, false), (Wellness::Healthy, 0, 5));
    }
}
