//! What others do to a container that runs: signals, halting it, more commands in it, the size of its
//! terminal.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use husk_init::job::{Process, Size};

use super::adjust::Limits;
use super::console::Console;
use super::freezer::Freezer;
use super::inside::archive;
use super::running::Init;
use super::sessions::Sessions;
use crate::sessions::{Answer, SessionId, Stdio};
use crate::spec::{Change, Signal};
use crate::sys::lock::lock;

/// Why a container stands still.
#[derive(Debug, Default)]
pub(super) struct Halts {
    /// Somebody paused it.
    paused: bool,
    /// How many read what it has changed.
    readers: usize,
    /// Whether it goes on all the same, because it is to end.
    is_loose: bool,
}

/// A way to reach a container, from any thread, as long as it lives.
#[derive(Debug)]
pub struct Reach {
    pub(super) init: Init,
    /// Where it was made.
    pub(super) workspace: PathBuf,
    /// The commands beside its workload, if it can have some.
    pub(super) sessions: Option<Arc<Sessions>>,
    pub(super) freezer: Option<Freezer>,
    pub(super) halts: Mutex<Halts>,
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
        let freezer = self.freezer()?;
        let mut halts = lock(&self.halts);
        match paused {
            true => freezer.freeze()?,
            false if halts.readers == 0 => freezer.thaw()?,
            false => {}
        }
        halts.paused = paused;
        Ok(())
    }

    /// Halts everything in it for one who reads, until [`Reach::release`].
    pub fn hold(&self) -> io::Result<()> {
        let freezer = self.freezer()?;
        let mut halts = lock(&self.halts);
        if halts.is_loose {
            return Err(io::Error::other("it is to end"));
        }
        if let Err(error) = freezer.freeze() {
            if !halts.paused && halts.readers == 0 {
                // What was halted in part goes on.
                let _goes_on = freezer.thaw();
            }
            return Err(error);
        }
        halts.readers += 1;
        Ok(())
    }

    /// Whether it has stood still since the first who reads held it.
    pub fn stands(&self) -> bool {
        !lock(&self.halts).is_loose
    }

    /// One who reads has done so: the last one's container goes on, unless somebody paused it.
    pub fn release(&self) {
        let mut halts = lock(&self.halts);
        halts.readers = halts.readers.saturating_sub(1);
        halts.is_loose &= halts.readers > 0;
        if let (Some(freezer), 0, false) = (&self.freezer, halts.readers, halts.paused) {
            // A container that is gone is not halted.
            let _gone = freezer.thaw();
        }
    }

    /// It is to end, and could not while it is halted: readers or not, it goes on.
    pub fn let_go(&self) {
        let mut halts = lock(&self.halts);
        if let (Some(freezer), 1..) = (&self.freezer, halts.readers) {
            halts.is_loose = true;
            let _gone = freezer.thaw();
        }
    }

    fn freezer(&self) -> io::Result<&Freezer> {
        let none = || io::ErrorKind::Unsupported.into();
        self.freezer.as_ref().ok_or_else(none)
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
        match &self.sessions {
            Some(sessions) => Ok(sessions.exec(process, stdio, answers)),
            None => Err(
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
