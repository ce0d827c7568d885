//! How a run ended, behind either wall.

use husk_init::exit::Exit;

/// The end of a run that had a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The workload's.
    pub exit: Exit,
    /// Whether `--timeout` killed it.
    pub timed_out: bool,
}
