//! A machine's ID: 64 hexadecimal digits, as docker's.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::Error;

/// Digits that are shown.
const SHORT: usize = 12;

/// Digits that there are.
const LONG: usize = 64;

/// An ID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id(String);

impl Id {
    /// One that nobody has.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0u8; LONG / 2];
        getrandom::fill(&mut bytes).map_err(Error::Random)?;
        Ok(Self(
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    }

    /// The ID that `text` is.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == LONG && is_hex(text)).then(|| Self(text.to_owned()))
    }

    /// All digits.
    pub fn long(&self) -> &str {
        &self.0
    }

    /// The first twelve: what people see, and a host's name.
    pub fn short(&self) -> &str {
        self.0.get(..SHORT).unwrap_or(&self.0)
    }
}

/// Whether `text` may be the beginning of an ID.
pub(super) fn is_hex(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (1..=LONG).contains(&text.len()) && text.bytes().all(hex)
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
