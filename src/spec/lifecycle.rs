//! What is asked about a machine's life as a whole, and not about one run of it: its labels, when it
//! is started again, how it is asked to stop, and whether it leaves anything.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a workload may take to stop when nobody said, as docker has it.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A machine's life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Free-form annotations.
    pub labels: BTreeMap<String, String>,
    /// Remove the machine when it has ended.
    pub remove: bool,
    /// When it is started again.
    pub restart: Restart,
    /// What asks it to stop, as typed; the image's where nobody said.
    pub stop_signal: Option<String>,
    /// How long it may take to stop, seconds; -1 is for ever.
    pub stop_timeout: Option<i64>,
    /// A file to write its ID to when it is made.
    #[serde(skip)]
    pub id_file: Option<PathBuf>,
}

/// When a machine that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When its workload failed; at most so many times in a row, where there is a number.
    OnFailure(Option<u32>),
    /// Always.
    Always,
    /// Always, but not after a stop; without a daemon that begins anew the same as always.
    UnlessStopped,
}

impl Restart {
    /// Parses `no`, `on-failure[:N]`, `always`, `unless-stopped`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("--restart `{text}`: write no, on-failure[:N], always or unless-stopped");
        match text.split_once(':') {
            None => match text {
                "no" | "" => Ok(Self::No),
                "on-failure" => Ok(Self::OnFailure(None)),
                "always" => Ok(Self::Always),
                "unless-stopped" => Ok(Self::UnlessStopped),
                _ => Err(wrong()),
            },
            Some(("on-failure", most)) => {
                let most: u32 = most.parse().map_err(|_| wrong())?;
                // Docker: no bound.
                Ok(Self::OnFailure((most > 0).then_some(most)))
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Its name without a number, as docker shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure(_) => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// Whether a machine that ended with `status`, and was started again `count` times in a row, is
    /// started once more.
    pub fn applies(self, status: u8, count: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure(most) => status != 0 && most.is_none_or(|most| count < most),
            Self::Always | Self::UnlessStopped => true,
        }
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure(Some(most)) => write!(f, "on-failure:{most}"),
            other => f.write_str(other.name()),
        }
    }
}

/// How long to wait before a restart: docker's backoff, which doubles while the machine does not stay up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Self::FIRST)
    }
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(60);
    /// Who was up for as long as this begins anew.
    pub const STEADY: Duration = Duration::from_secs(10);

    /// The wait after a run that lasted `lasted`.
    pub fn next(&mut self, lasted: Duration) -> Duration {
        if lasted >= Self::STEADY {
            self.0 = Self::FIRST;
        }
        let wait = self.0;
        self.0 = (2 * wait).min(Self::MOST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_read_as_docker_reads_them() {
        let table = [
            ("no", Restart::No),
            ("on-failure", Restart::OnFailure(None)),
            ("on-failure:3", Restart::OnFailure(Some(3))),
            ("on-failure:0", Restart::OnFailure(None)),
            ("always", Restart::Always),
            ("unless-stopped", Restart::UnlessStopped),
        ];
        for (text, policy) in table {
            assert_eq!(Restart::parse(text), Ok(policy), "{text}");
        }
        for text in [
            "never",
            "always:3",
            "on-failure:",
            "on-failure:-1",
            "on-failure:x",
        ] {
            assert!(Restart::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_failure_is_tried_again_as_often_as_asked() {
        let twice = Restart::OnFailure(Some(2));
        assert!(twice.applies(1, 0) && twice.applies(1, 1));
        assert!(!twice.applies(1, 2) && !twice.applies(0, 0));
        assert!(Restart::Always.applies(0, 1000) && !Restart::No.applies(1, 0));
    }

    #[test]
    fn waits_double_until_the_machine_stays_up() {
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        let waits: Vec<_> = (0..12).map(|_| backoff.next(short).as_millis()).collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[11], 60_000);
        assert_eq!(backoff.next(Duration::from_secs(11)).as_millis(), 100);
    }
}
