//! The report on disk, after every run: whoever interrupts a comparison loses the run under way.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::report::Report;

/// Where a report is kept.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// A journal at `path`, whose folder must exist.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the report as it is now: the file is the one before, or this one, and never a part.
    pub fn keep(&self, report: &Report) -> Result<(), Error> {
        let failed = |source| Error::Keep {
            path: self.path.clone(),
            source,
        };
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = self.path.with_file_name(name);
        fs::write(&new, report.to_json()).map_err(failed)?;
        fs::rename(&new, &self.path).map_err(failed)
    }
}
