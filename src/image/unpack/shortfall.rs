//! What of an image a process could not put into a directory, because it may not.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::image::error::printable;

/// A kind of thing that was not put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// Files that belong to whom they were made by.
    Owner,
    /// Files without their set-uid or set-gid bit: it would act for the wrong owner.
    SetId,
    /// Devices that are not there.
    Device,
    /// Extended attributes that are not there.
    Attribute,
    /// Modification times that the file system cannot say.
    Time,
}

/// How many of a kind, and which was the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// How many.
    pub count: u64,
    /// The first one's path in the image, printable.
    pub first: String,
    /// What was to be put there, and why it was not.
    pub what: String,
}

/// What is not as the image has it; empty when everything is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shortfall {
    kinds: BTreeMap<Lack, Lacking>,
}

impl Shortfall {
    /// Whether the directory is all that the image is.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// What of this kind is lacking.
    pub fn of(&self, kind: Lack) -> Option<&Lacking> {
        self.kinds.get(&kind)
    }

    /// One sentence for each kind.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        self.kinds.iter().map(|(kind, lacking)| {
            let Lacking { count, first, what } = lacking;
            format!("{kind}: {count}, the first of them `{first}` ({what})")
        })
    }

    /// Counts one more.
    pub(super) fn note(&mut self, kind: Lack, path: &[u8], what: impl FnOnce() -> String) {
        let lacking = self.kinds.entry(kind).or_insert_with(|| Lacking {
            count: 0,
            first: printable(path),
            what: what(),
        });
        lacking.count += 1;
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "files with another owner than in the image",
            Self::SetId => "files without their set-uid or set-gid bit",
            Self::Device => "devices left out",
            Self::Attribute => "extended attributes left out",
            Self::Time => "files with another time than in the image",
        })
    }
}
