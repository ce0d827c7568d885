//! What is reached of a machine that runs, behind either wall: its workload, and the commands beside it.

use std::io;
use std::sync::mpsc::Sender;

use husk_init::job::{Limit, Process, Size};

use crate::container;
use crate::sessions::{Answer, SessionId, Stdio};
use crate::spec::Signal;
use crate::vmm::{self, Asker};

/// A way to it, for any thread.
pub enum Reached {
    /// A machine, by its conversation, and its process as a whole; its workload's limits are those of the
    /// commands beside it, too.
    Machine(Asker, vmm::Freezer, Vec<Limit>),
    /// A container.
    Container(container::Reach),
}

impl Reached {
    /// What it is called in sentences.
    pub fn place(&self) -> &'static str {
        match self {
            Self::Machine(..) => "the guest",
            Self::Container(_) => "the container",
        }
    }

    /// Tells `answers` of the workload: that it started, and that it ended.
    pub fn attend(&self, answers: Sender<Answer>) {
        match self {
            Self::Machine(asker, ..) => asker.attend(answers),
            Self::Container(reach) => reach.attend(answers),
        }
    }

    /// Runs `process` beside the workload; what becomes of it is said to `answers`. The error is why it
    /// never could, as the rest of a sentence about the keeper.
    pub fn exec(
        &self,
        mut process: Process,
        stdio: Stdio,
        answers: Sender<Answer>,
    ) -> Result<SessionId, String> {
        match self {
            Self::Machine(asker, _, limits) => {
                // husk's own program has work to do whatever the workload may.
                if !process.own {
                    process.limits.clone_from(limits);
                }
                Ok(asker.exec(process, stdio, answers))
            }
            Self::Container(reach) => reach.exec(process, stdio, answers),
        }
    }

    /// A signal for the process of a session.
    pub fn signal(&self, session: SessionId, signal: Signal) {
        match self {
            Self::Machine(asker, ..) => asker.signal_session(session, signal),
            Self::Container(reach) if session == SessionId::WORKLOAD => reach.signal(signal),
            Self::Container(reach) => reach.signal_session(session, signal),
        }
    }

    /// A size for the terminal of a session.
    pub fn resize(&self, session: SessionId, size: Size) {
        match self {
            Self::Machine(asker, ..) => asker.resize(session, size),
            Self::Container(reach) if session == SessionId::WORKLOAD => reach.resize(size),
            Self::Container(reach) => reach.resize_session(session, size),
        }
    }

    /// The user of a session is gone, and its process goes on.
    pub fn forsake(&self, session: SessionId) {
        match self {
            Self::Machine(asker, ..) => asker.forsake(session),
            Self::Container(reach) => reach.forsake(session),
        }
    }

    /// Halts everything in it, or lets it go on; why that cannot be.
    pub fn pause(&self, paused: bool) -> Result<(), String> {
        let done = match (self, paused) {
            (Self::Machine(_, freezer, _), true) => freezer.freeze(),
            (Self::Machine(_, freezer, _), false) => freezer.thaw(),
            (Self::Container(reach), paused) => reach.pause(paused),
        };
        done.map_err(|error| match error.kind() {
            io::ErrorKind::Unsupported => {
                "keeps a container, and has no control group to pause it by".to_owned()
            }
            _ => format!("cannot do it ({error})"),
        })
    }
}
