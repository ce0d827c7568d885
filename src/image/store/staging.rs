//! A folder for what is not finished; gone when its owner is, unless killed.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use super::failed;
use crate::image::directory::remove;
use crate::image::error::Error;

/// Of the store's user alone: what is set-uid in there is not finished, and nobody's to execute.
const PRIVATE: u32 = 0o700;

/// The folder.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
}

impl Staging {
    /// A new one below `tmp`.
    pub fn new(tmp: &Path) -> Result<Self, Error> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = tmp.join(format!("{}-{count}", process::id()));
            match DirBuilder::new().mode(PRIVATE).create(&path) {
                Ok(()) => return Ok(Self { path }),
                // Left behind by a process that was killed and had this one's number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("create", path)(error)),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays is taken away by `prune`.
        let _ = remove(&self.path);
    }
}
