//! What a workload tried to reach, and what became of it: as the process that runs it writes it down while it runs.
//!
//! A file of it is lines of JSON, each of [`SLOT`] bytes, so that one can be written again in its place. So it can be
//! read at any time, and whoever of the writers dies, it is there.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::egress::{Carrier, Egress, EgressPolicy};
use super::time::Nanoseconds;

/// Bytes of one line: the longest name, and numbers.
pub const SLOT: usize = 1024;

/// Why something is allowed or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// A rule says so: its number, from 0.
    Rule(u16),
    /// No rule says anything, and this holds for the rest.
    Rest(Egress),
    /// It leads to the host itself, or to its cloud's keys.
    Never,
    /// The answer to a question led where its owner has no business.
    Rebinding,
    /// There were as many conversations as there may be.
    Connections,
    /// As many bytes have flowed as may.
    Bytes,
}

/// Whether something is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it is.
    pub allows: bool,
    /// Why.
    pub why: Why,
}

/// What was tried, once or more often, with one verdict. What has neither an address nor a name is everything for which
/// there was no line left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What carried it; nothing does a question for a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<Carrier>,
    /// Where it went; of an echo request the port is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// The name that was asked for, or that the guest was told to have this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What became of it.
    pub verdict: Verdict,
    /// How often: conversations that were begun, or packets that were refused.
    pub count: u64,
    /// When first, and when last.
    pub first: Nanoseconds,
    /// When last.
    pub last: Nanoseconds,
    /// Bytes of the workload's that went there.
    pub sent: u64,
    /// Bytes that came from there.
    pub received: u64,
}

impl Attempt {
    /// Its line.
    pub fn to_slot(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.resize(SLOT - 1, b' ');
        line.push(b'\n');
        line
    }

    /// Those of a file; what is no line of one is left out.
    pub fn from_slots(file: &[u8]) -> Vec<Self> {
        let slots = file.chunks(SLOT);
        slots
            .filter_map(|slot| serde_json::from_slice(slot).ok())
            .collect()
    }
}

impl Why {
    /// In words of the command line, where it has some.
    pub fn describe(self, egress: &EgressPolicy) -> String {
        match self {
            Self::Rule(number) => match egress.rules.get(usize::from(number)) {
                Some(rule) => rule.to_string(),
                None => format!("rule {number}"),
            },
            Self::Rest(base) => base.to_string(),
            Self::Never => "never".to_owned(),
            Self::Rebinding => "rebinding".to_owned(),
            Self::Connections => "--net-connections".to_owned(),
            Self::Bytes => "--net-bytes".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_attempt_has_a_line() {
        let attempt = Attempt {
            carrier: Some(Carrier::Icmp),
            peer: Some(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
                    .parse()
                    .unwrap(),
            ),
            name: Some("x".repeat(255)),
            verdict: Verdict {
                allows: false,
                why: Why::Rule(u16::MAX),
            },
            count: u64::MAX,
            first: u64::MAX,
            last: u64::MAX,
            sent: u64::MAX,
            received: u64::MAX,
        };
        let slot = attempt.to_slot();
        assert_eq!((slot.len(), slot[SLOT - 1]), (SLOT, b'\n'));
        let mut file = slot.clone();
        file.extend([b'x'; SLOT]);
        file.extend([0; SLOT]);
        file.extend(&slot[..900]);
        assert_eq!(Attempt::from_slots(&file), [attempt.clone(), attempt]);
        assert_eq!(Attempt::from_slots(&file[..100]), []);
    }
}
