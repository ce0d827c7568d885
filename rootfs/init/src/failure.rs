//! From an errno to the record that crosses to the host: where it happened, and on what.

use crate::exit::{Failure, Stage};
use crate::sys::{Errno, Result};

/// Says where an errno happened.
pub trait At<T> {
    /// The failure of `stage` on `detail`, unless all is well.
    fn at(self, stage: Stage, detail: &[u8]) -> std::result::Result<T, Failure>;
}

impl<T> At<T> for Result<T> {
    fn at(self, stage: Stage, detail: &[u8]) -> std::result::Result<T, Failure> {
        self.map_err(|Errno(errno)| Failure {
            stage,
            errno,
            detail: detail.to_vec(),
        })
    }
}

/// A failure that the kernel was not asked about.
pub fn refused(stage: Stage, detail: &[u8]) -> Failure {
    Failure {
        stage,
        errno: 0,
        detail: detail.to_vec(),
    }
}
