//! How much an image may unpack to before it is taken for a bomb.

use super::error::Fault;
use crate::spec::units::show_size;

/// Limits of one image.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all its files.
    pub max_size: u64,
    /// Entries of all its layers.
    pub max_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_size: 64 << 30,
            max_entries: 2_000_000,
        }
    }
}

impl Limits {
    /// Takes `bytes` off what is left.
    pub fn take_bytes(&mut self, bytes: u64, of: &Self) -> Result<(), Fault> {
        self.max_size = self
            .max_size
            .checked_sub(bytes)
            .ok_or_else(|| Fault::TooLarge {
                limit: show_size(of.max_size),
                flag: "--max-size",
            })?;
        Ok(())
    }

    /// Takes one entry off what is left.
    pub fn take_entry(&mut self, of: &Self) -> Result<(), Fault> {
        self.max_entries = self
            .max_entries
            .checked_sub(1)
            .ok_or_else(|| Fault::TooLarge {
                limit: format!("{} entries", of.max_entries),
                flag: "--max-entries",
            })?;
        Ok(())
    }
}
