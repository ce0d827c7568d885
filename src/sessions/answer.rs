//! What a session answers to who asked for it.
//!
//! ```text
//!  exec ──▶ Started ──▶ Exited     the streams are at their end by then, or hold nothing that comes
//!    └────▶ Failed, Refused        it never began
//!    └────▶ Lost                   the machine is gone, and nobody knows
//! ```
//!
//! Exactly one of the last three rows' words ends a session's answers, whatever happens.

use std::fmt;
use std::sync::mpsc::Sender;
use std::time::Duration;

use husk_init::exit::{Exit, Failure};
use husk_init::frame::MAX_SESSIONS;
use thiserror::Error;

/// The number of a session of one machine, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u32);

impl SessionId {
    /// The image's own workload.
    pub const WORKLOAD: Self = Self(0);
}

/// What a session answers.
#[derive(Debug)]
pub enum Answer {
    /// Its process executes its command.
    Started,
    /// Its process never began; the last answer. [`Failure::status`] has docker's number.
    Failed(Failure),
    /// The machine does not take it; the last answer.
    Refused(Refusal),
    /// Its process has ended, and its output has arrived; the last answer.
    Exited(Exit),
    /// The machine is gone, and how the process ended with it; the last answer.
    Lost,
}

/// Why a machine takes no more sessions.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It came too early.
    #[error("the workload has not started yet: try again when it runs")]
    NotRunning,
    /// It came too late.
    #[error("the workload has ended, and nothing runs in the machine any more")]
    Over,
    /// There are too many.
    #[error("{MAX_SESSIONS} sessions run in the machine: end one of them first")]
    Full,
    /// The guest, or the machine's process, does not read.
    #[error("the guest does not listen: it is busy, or hangs")]
    Deaf,
    /// The guest took the order, and never said what became of it.
    #[error("the guest did not start the command within {} s", .0.as_secs())]
    Silent(Duration),
    /// This host has no room for its streams.
    #[error("this host cannot carry its streams: {0}")]
    Host(String),
    /// The wall cannot, as a sentence.
    #[error("{0}")]
    Wall(String),
}

/// Where the answers of one session go. Whoever lets go of it has given the last one: [`Answer::Lost`],
/// if there was none.
pub struct Answers(Option<Sender<Answer>>);

impl Answers {
    /// To the other end of `sender`.
    pub fn to(sender: Sender<Answer>) -> Self {
        Self(Some(sender))
    }

    /// An answer that is not the last one.
    pub fn give(&self, answer: Answer) {
        if let Some(sender) = &self.0 {
            // Who asked may not care any more.
            let _gone = sender.send(answer);
        }
    }

    /// The last answer.
    pub fn end(mut self, answer: Answer) {
        self.give(answer);
        self.0 = None;
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.give(Answer::Lost);
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}
