//! From an errno to the record that crosses to the host: where it happened, and on what.

use crate::exit::{Failure, Stage};
use crate::job::Process;
use crate::sys::spawn::Step;
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

/// A process that was to become `wanted`, and failed at a step on the way.
pub fn not_spawned((step, Errno(errno)): (Step, Errno), wanted: &Process) -> Failure {
    let command = wanted.argv.first().map_or(&b""[..], Vec::as_slice);
    let (stage, detail) = match step {
        Step::Clone | Step::Cgroup | Step::Session | Step::Confine => (Stage::Fork, command),
        Step::Streams => (Stage::Stream, command),
        Step::Terminal => (Stage::Terminal, command),
        Step::Limit => (Stage::Limit, &b""[..]),
        Step::Workdir => (Stage::Workdir, wanted.cwd.as_slice()),
        Step::User => (Stage::User, wanted.user.as_slice()),
        Step::Exec => (Stage::Exec, command),
    };
    Failure {
        stage,
        errno,
        detail: detail.to_vec(),
    }
}
