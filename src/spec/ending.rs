//! How a run ended, behind either wall.

use std::collections::BTreeMap;

use husk_init::exit::Exit;

/// The end of a run that had a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The workload's.
    pub exit: Exit,
    /// Whether `--timeout` killed it.
    pub timed_out: bool,
    /// Exits of the guest by reason, where a machine was asked to count them.
    pub exits: BTreeMap<String, u64>,
}
