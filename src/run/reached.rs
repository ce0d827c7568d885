//! What is reached of a machine that runs, behind either wall: its workload, and the commands beside it.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use husk_init::job::{Limit, Process, Size};

use super::affinity;
use crate::container;
use crate::sessions::{Answer, SessionId, Stdio};
use crate::spec::sentence::sentence;
use crate::spec::units::show_size;
use crate::spec::{Change, Signal};
use crate::vmm::{self, Asker, Tuning};

/// A way to it, for any thread.
pub enum Reached {
    /// A machine.
    Machine(Guest),
    /// A container.
    Container(container::Reach),
}

/// A machine: its conversation, and its process.
pub struct Guest {
    /// The conversation.
    pub asker: Asker,
    /// What halts the process as a whole.
    pub freezer: vmm::Freezer,
    /// What changes what it may use.
    pub tuner: vmm::Tuner,
    /// Limits of its workload, and of the commands beside it.
    pub limits: Vec<Limit>,
    /// CPUs that it has, for this life.
    pub cpus: u32,
    /// Bytes of memory that it booted with: the most, for this life.
    pub memory: u64,
    /// Bytes that it may use of them now.
    pub bounded: Mutex<u64>,
    /// Whether its kernel takes devices while it runs: husk's own does.
    pub takes_devices: bool,
    /// Whether it gives memory back from its boot on.
    pub has_balloon: bool,
}

/// What helps where a machine cannot have something while it runs.
pub(super) const REMEDY: &str = "husk stop it, update it, and start it";

impl Reached {
    /// What it is called in sentences.
    pub fn place(&self) -> &'static str {
        match self {
            Self::Machine(_) => "the guest",
            Self::Container(_) => "the container",
        }
    }

    /// Tells `answers` of the workload: that it started, and that it ended.
    pub fn attend(&self, answers: Sender<Answer>) {
        match self {
            Self::Machine(guest) => guest.asker.attend(answers),
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
            Self::Machine(guest) => {
                // husk's own program has work to do whatever the workload may.
                if !process.own {
                    process.limits.clone_from(&guest.limits);
                }
                Ok(guest.asker.exec(process, stdio, answers))
            }
            Self::Container(reach) => reach.exec(process, stdio, answers),
        }
    }

    /// A signal for the process of a session.
    pub fn signal(&self, session: SessionId, signal: Signal) {
        match self {
            Self::Machine(guest) => guest.asker.signal_session(session, signal),
            Self::Container(reach) if session == SessionId::WORKLOAD => reach.signal(signal),
            Self::Container(reach) => reach.signal_session(session, signal),
        }
    }

    /// A size for the terminal of a session.
    pub fn resize(&self, session: SessionId, size: Size) {
        match self {
            Self::Machine(guest) => guest.asker.resize(session, size),
            Self::Container(reach) if session == SessionId::WORKLOAD => reach.resize(size),
            Self::Container(reach) => reach.resize_session(session, size),
        }
    }

    /// The user of a session is gone, and its process goes on.
    pub fn forsake(&self, session: SessionId) {
        match self {
            Self::Machine(guest) => guest.asker.forsake(session),
            Self::Container(reach) => reach.forsake(session),
        }
    }

    /// Halts everything in it, or lets it go on; why that cannot be.
    pub fn pause(&self, paused: bool) -> Result<(), String> {
        let done = match (self, paused) {
            (Self::Machine(guest), true) => guest.freezer.freeze(),
            (Self::Machine(guest), false) => guest.freezer.thaw(),
            (Self::Container(reach), paused) => reach.pause(paused),
        };
        done.map_err(|error| unpaused(&error))
    }

    /// It is to end, so that it must not be halted for who reads its files.
    pub fn let_go(&self) {
        if let Self::Container(reach) = self {
            reach.let_go();
        }
    }

    /// Has it as `change` says; else why not, and what helps, as a sentence. Nothing is changed of a machine that cannot
    /// have all of it.
    pub fn adjust(&self, change: &Change) -> Result<(), String> {
        if let Self::Machine(guest) = self {
            guest.allows(change)?;
        }
        let list = change.cpuset.as_ref().map(affinity::go);
        let processors = list.transpose().map_err(|error| sentence(&error))?;
        match self {
            Self::Machine(guest) => {
                // First, because it is what may not be had: what a guest got back may not be taken again.
                guest.press(change.memory, change.reservation)?;
                guest.adjust(change)?;
            }
            Self::Container(reach) => reach.adjust(change)?,
        }
        if let Some(processors) = processors {
            affinity::follow(&processors);
        }
        Ok(())
    }
}

/// Why a machine is not halted, as the rest of a sentence about its keeper.
pub fn unpaused(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Unsupported => {
            "keeps a container, and has no control group to pause it by".to_owned()
        }
        _ => format!("cannot do it ({error})"),
    }
}

impl Guest {
    /// What it has had since its start bounds what it may have.
    fn allows(&self, change: &Change) -> Result<(), String> {
        match change {
            Change {
                cpus: Some(cpus), ..
            } if cpus.count() > self.cpus => Err(format!(
                "--cpus {cpus}: it has had {} since its start; for more {REMEDY}",
                self.cpus
            )),
            Change {
                memory: Some(memory),
                ..
            } if *memory > self.memory => Err(format!(
                "--memory: it booted with {}; for more {REMEDY}",
                show_size(self.memory)
            )),
            Change {
                memory: Some(memory),
                ..
            } if *memory < self.memory && !self.takes_devices => Err(format!(
                "--memory: a kernel of yours takes no balloon while it runs; {REMEDY}"
            )),
            Change {
                reservation: Some(_),
                ..
            } if !self.has_balloon && !self.takes_devices => Err(format!(
                "--memory-reservation: a kernel of yours takes no balloon while it runs; {REMEDY}"
            )),
            _ => Ok(()),
        }
    }

    fn adjust(&self, change: &Change) -> Result<(), String> {
        let Change { cpus, rates, .. } = change;
        if cpus.is_some() || rates.is_some() {
            let tuning = Tuning {
                cpus: *cpus,
                rates: rates.clone(),
                ..Tuning::default()
            };
            let told = self.tuner.tune(tuning);
            told.map_err(|error| format!("its machine is not to be told ({error})"))?;
        }
        if let Some(most) = change.tasks {
            self.asker.bound_tasks(most);
        }
        Ok(())
    }
}
