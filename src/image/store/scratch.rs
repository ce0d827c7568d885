//! A folder of one run's own on the store's disk, for what a workload writes where memory cannot take it.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::staging::Staging;
use super::{Store, failed};
use crate::image::error::Error;

/// Where they are.
pub(super) const FOLDER: &str = "written";

/// The folder, of this process alone: gone with this value, or else by `prune`.
#[derive(Debug)]
pub struct Scratch {
    staging: Staging,
    /// Keeps it from `prune`, which cannot know otherwise that somebody is alive.
    _lease: File,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.staging.path()
    }
}

impl Store {
    /// A new one.
    pub fn scratch(&self) -> Result<Scratch, Error> {
        let _lock = self.lock_shared()?;
        let folder = self.root.join(FOLDER);
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        let staging = Staging::new(&folder)?;
        let lease = File::open(staging.path()).map_err(failed("open", staging.path()))?;
        flock(&lease, FlockOperation::LockShared)
            .map_err(|errno| failed("lock", staging.path())(errno.into()))?;
        Ok(Scratch {
            staging,
            _lease: lease,
        })
    }
}
