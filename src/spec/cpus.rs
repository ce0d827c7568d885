//! How much processor a run may have, in docker's way: CPUs, and parts of one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Thousandths of a CPU; at least ten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Cpus(u32);

impl Cpus {
    /// One whole CPU.
    pub const ONE: Self = Self(1000);

    /// Docker's least: 10 ms of a second.
    const LEAST: u32 = 10;

    /// Parses `2`, `0.5`, `1.25`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "--cpus `{text}`: write a number of CPUs, like 2 or 0.5; a machine has at least 0.01"
            )
        };
        // Nothing that only a floating-point number understands, like `inf` and `1e3`.
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return Err(wrong());
        }
        text.parse::<f64>()
            .ok()
            .and_then(Self::of)
            .ok_or_else(wrong)
    }

    fn of(number: f64) -> Option<Self> {
        let thousandths = (number * 1000.0).round();
        let legal = (f64::from(Self::LEAST)..=f64::from(u32::MAX)).contains(&thousandths);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole, and in the range"
        )]
        legal.then_some(Self(thousandths as u32))
    }

    /// So many processors it takes.
    pub fn count(self) -> u32 {
        self.0.div_ceil(1000)
    }

    /// What each of those may be used for of a `period`, in its unit; `None` for all of it.
    pub fn share_of(self, period: u64) -> Option<u64> {
        let whole = self.0.is_multiple_of(1000);
        (!whole).then(|| self.of_all(period) / u64::from(self.count()))
    }

    /// What all of them together may be used for of a `period`, in its unit.
    pub fn of_all(self, period: u64) -> u64 {
        period * u64::from(self.0) / 1000
    }

    /// Billionths of a CPU, as docker counts.
    pub fn nano(self) -> u64 {
        u64::from(self.0) * 1_000_000
    }
}

impl Default for Cpus {
    fn default() -> Self {
        Self::ONE
    }
}

impl From<Cpus> for f64 {
    fn from(cpus: Cpus) -> Self {
        Self::from(cpus.0) / 1000.0
    }
}

impl TryFrom<f64> for Cpus {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        Self::of(number).ok_or("no number of CPUs")
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_docker_reads_them() {
        for (text, count, share, shown) in [
            ("1", 1, None, "1"),
            ("4", 4, None, "4"),
            ("0.5", 1, Some(50), "0.5"),
            (".25", 1, Some(25), "0.25"),
            ("1.5", 2, Some(75), "1.5"),
            ("0.01", 1, Some(1), "0.01"),
            ("2.0", 2, None, "2"),
        ] {
            let cpus = Cpus::parse(text).unwrap();
            assert_eq!((cpus.count(), cpus.share_of(100)), (count, share), "{text}");
            assert_eq!(cpus.to_string(), shown);
            let json = serde_json::to_string(&cpus).unwrap();
            assert_eq!(serde_json::from_str::<Cpus>(&json).unwrap(), cpus);
        }
        // Reports of before had whole numbers.
        assert_eq!(serde_json::from_str::<Cpus>("2").unwrap().count(), 2);
        for text in ["", "0", "0.001", "-1", "inf", "1e3", "two", "1.2.3"] {
            assert!(
                Cpus::parse(text).unwrap_err().contains("like 2 or 0.5"),
                "{text}"
            );
        }
    }
}
