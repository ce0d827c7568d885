//! Signals by name and number, as Linux x86_64 has them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// HUP, INT, QUIT, USR1, USR2, TERM, WINCH: what a user sends to `husk run` is for the workload.
pub const FORWARDED: [u8; 7] = [1, 2, 3, 10, 12, 15, 28];

/// After this long, a second SIGTERM is an order to the wall and not a plea to the workload; and a
/// workload that `--timeout` killed must be dead.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A signal number, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal(u8);

const NAMES: [(&str, u8); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

const REALTIME_FIRST: u8 = 34;
const LAST: u8 = 64;

impl Signal {
    /// Asks a process to end.
    pub const TERM: Self = Self(15);
    /// Tells a process that its terminal has another size.
    pub const WINCH: Self = Self(28);
    /// Ends a process.
    pub const KILL: Self = Self(9);

    /// The signal of this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        (1..=LAST).contains(&number).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Parses `SIGTERM`, `term`, `15`, `SIGRTMIN+3`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a signal: write a name like SIGTERM, or 1 to 64");
        if let Ok(number) = text.parse() {
            return Self::from_number(number).ok_or_else(wrong);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self(*number));
        }
        let realtime = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(""), _) => Some(REALTIME_FIRST),
            (_, Some("")) => Some(LAST),
            (Some(plus), _) => offset(plus, '+').and_then(|n| REALTIME_FIRST.checked_add(n)),
            (_, Some(minus)) => offset(minus, '-').and_then(|n| LAST.checked_sub(n)),
            _ => None,
        };
        let known = realtime.filter(|number| (REALTIME_FIRST..=LAST).contains(number));
        known.map(Self).ok_or_else(wrong)
    }
}

fn offset(text: &str, sign: char) -> Option<u8> {
    text.strip_prefix(sign)?.parse().ok()
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_any_of_their_names() {
        let table = [
            ("SIGTERM", 15),
            ("quit", 3),
            ("9", 9),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
        ];
        for (text, number) in table {
            assert_eq!(Signal::parse(text).unwrap().number(), number, "{text}");
        }
        for text in ["", "SIG", "0", "65", "TERMINATE", "RTMIN+99", "RTMAX+1"] {
            assert!(Signal::parse(text).is_err(), "{text}");
        }
    }
}
