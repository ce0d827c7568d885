//! What others do to a container that runs: signals, halting it, more commands in it, the size of its
//! terminal.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use husk_init::job::{Process, Size};

use super::adjust::Limits;
use super::console::Console;
use super::freezer::Freezer;
use super::inside::archive;
use super::running::Init;
use super::sessions::Sessions;
use crate::sessions::{Answer, SessionId, Stdio};
use crate::spec::{Change, OciRuntime, Signal};

/// A way to reach a container, from any thread, as long as it lives.
#[derive(Debug)]
pub struct Reach {
    pub(super) init: Init,
    /// Where it was made.
    pub(super) workspace: PathBuf,
    /// Who made it.
    pub(super) runtime: OciRuntime,
    /// The commands beside its workload, if it can have some.
    pub(super) sessions: Option<Arc<Sessions>>,
    pub(super) freezer: Option<Freezer>,
    pub(super) limits: Limits,
    pub(super) console: Option<Console>,
}

impl Reach {
    /// A signal for its first process.
    pub fn signal(&self, signal: Signal) {
        self.init.signal(signal);
    }

    /// Halts everything in it, or lets it go on; `Unsupported` without a control group.
    pub fn pause(&self, paused: bool) -> io::Result<()> {
        match (&self.freezer, paused) {
            (Some(freezer), true) => freezer.freeze(),
            (Some(freezer), false) => freezer.thaw(),
            (None, _) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Has its limits as `change` says; else why not, as a sentence.
    pub fn adjust(&self, change: &Change) -> Result<(), String> {
        self.limits.set(change)
    }

    /// Tells `answers` of the workload: that it has started, and that it is over.
    pub fn attend(&self, answers: Sender<Answer>) {
        self.sessions
            .iter()
            .for_each(|sessions| sessions.attend(answers.clone()));
    }

    /// Runs `process` beside the workload, with `stdio` as its streams; what becomes of it is said to
    /// `answers`. The error is why it cannot have any, as the rest of a sentence about who keeps it.
    pub fn exec(
        &self,
        process: Process,
        stdio: Stdio,
        answers: Sender<Answer>,
    ) -> Result<SessionId, String> {
        match (&self.sessions, &self.runtime) {
            (Some(sessions), _) => Ok(sessions.exec(process, stdio, answers)),
            (None, OciRuntime::Program(runtime)) => Err(format!(
                "keeps a container that `{}` made, and husk runs more commands in its own only: \
                 leave --oci-runtime away",
                runtime.display()
            )),
            (None, OciRuntime::Embedded) => Err(
                "cannot hide husk's file from its container, and runs no more commands there: \
                 that takes Linux 5.12"
                    .to_owned(),
            ),
        }
    }

    /// A signal for such a command.
    pub fn signal_session(&self, session: SessionId, signal: Signal) {
        self.sessions
            .iter()
            .for_each(|sessions| sessions.signal(session, signal));
    }

    /// A size for the terminal of such a command.
    pub fn resize_session(&self, session: SessionId, size: Size) {
        self.sessions
            .iter()
            .for_each(|sessions| sessions.resize(session, size));
    }

    /// The user of such a command is gone, and it goes on.
    pub fn forsake(&self, session: SessionId) {
        self.sessions
            .iter()
            .for_each(|sessions| sessions.forsake(session));
    }

    /// Has husk's own archiver work in it, told what by `words`, with `files` as its streams.
    pub fn archive(&self, words: &[Vec<u8>], files: [OwnedFd; 3]) -> io::Result<Child> {
        archive(&self.init, &self.workspace, words, files)
    }

    /// A size for its terminal, if it has one.
    pub fn resize(&self, size: Size) {
        self.console.iter().for_each(|console| console.resize(size));
    }
}
