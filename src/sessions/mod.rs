//! A command beside the workload, as both walls know it: who uses it, what becomes of it, and the streams
//! between.
//!
//! A wall connects the process's ends of the streams ([`Wire`]), and gives the answers ([`Answers`]).

mod answer;
mod client;
mod relay;

pub use answer::{Answer, Answers, Refusal, SessionId};
pub use client::{Client, Wire, streams_of};
pub use relay::{Pulse, Stdio};

use std::time::Duration;

/// How long the output of a process that has ended may be silent before its last byte has come: its
/// children may have it open for ever. Docker waits as long.
pub const LAST_BYTES: Duration = Duration::from_secs(2);
