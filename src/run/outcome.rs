//! How a run ended, for who asked for it.

use std::collections::BTreeMap;
use std::fs::File;

use husk_init::exit::Exit;

use super::error::Error;
use crate::machines;
use crate::spec::{Attempt, EgressPolicy, Ending};
use crate::timeline::Timeline;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The machine's name.
    pub name: String,
    /// The workload's end.
    pub exit: Exit,
    /// Whether `--timeout` killed it.
    pub timed_out: bool,
    /// What the host did not give, a sentence each.
    pub missing: Vec<String>,
    /// Its phases.
    pub timeline: Timeline,
    /// Exits of the guest by reason, where asked for.
    pub exits: BTreeMap<String, u64>,
    /// What the workload tried to reach.
    pub attempts: Vec<Attempt>,
    /// By what that was judged.
    pub egress: EgressPolicy,
}

impl Outcome {
    pub(super) fn new(
        name: String,
        ending: Ending,
        missing: Vec<String>,
        timeline: Timeline,
    ) -> Self {
        Self {
            name,
            exit: ending.exit,
            timed_out: ending.timed_out,
            missing,
            timeline,
            exits: ending.exits,
            attempts: Vec::new(),
            egress: EgressPolicy::default(),
        }
    }

    /// With what the workload tried to reach under `egress`, which is in the file.
    pub(super) fn tell_attempts(
        self,
        file: Option<&File>,
        egress: EgressPolicy,
    ) -> Result<Self, Error> {
        let attempts = file.map(machines::read_attempts).transpose()?;
        Ok(Self {
            attempts: attempts.unwrap_or_default(),
            egress,
            ..self
        })
    }
}
