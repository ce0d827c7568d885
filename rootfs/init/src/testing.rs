//! A directory for one test.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Removed when dropped.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A new one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A path below it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same, as the job has paths.
    pub fn path(&self, name: &str) -> Vec<u8> {
        self.at(name).as_os_str().as_bytes().to_vec()
    }
}
