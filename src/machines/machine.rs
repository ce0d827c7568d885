//! A machine as somebody found it, and the truth about how far it is.

use std::io;

use super::error::Error;
use super::folder::{Folder, Lock};
use super::record::Record;
use super::state::State;
use crate::spec::{Restart, time};

/// A machine, and how far it was when somebody looked.
#[derive(Debug)]
pub struct Machine {
    /// What was asked.
    pub record: Record,
    /// What has become of it.
    pub state: State,
    /// Whether a keeper had its lock.
    pub kept: bool,
    /// Its files.
    pub folder: Folder,
}

/// A machine in a list: without its files, of which a process may not have as many open as there are machines.
#[derive(Debug)]
pub struct Listed {
    /// What was asked.
    pub record: Record,
    /// What has become of it.
    pub state: State,
}

/// A machine that nobody else keeps as long as this lives.
#[derive(Debug)]
pub struct Held {
    /// The machine.
    pub machine: Machine,
    /// What keeps others out.
    pub lock: Lock,
}

impl Held {
    /// When it is started again, by what is kept of it now.
    pub fn restart(&self) -> Restart {
        self.record().lifecycle().restart
    }

    /// What is kept of it now.
    pub fn record(&self) -> Record {
        let Machine { folder, record, .. } = &self.machine;
        folder.record_now(record)
    }
}

impl Machine {
    /// Looks again, and also whether somebody is about to start it.
    pub fn refresh(&mut self) -> Result<(), Error> {
        self.state = look_at_state(&self.folder)?;
        self.kept = self.state.status.needs_keeper() || self.folder.is_locked()?;
        Ok(())
    }
}

/// The state, which is never that of a keeper who is dead: who sees one writes the truth.
pub(super) fn look_at_state(folder: &Folder) -> Result<State, Error> {
    let state = folder.state()?;
    if !state.status.needs_keeper() {
        return Ok(state);
    }
    match folder.try_lock_once() {
        Ok(None) => Ok(state),
        Ok(Some(_lock)) => settle(folder),
        // Removed meanwhile.
        Err(Error::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(state.of_the_dead())
        }
        Err(error) => Err(error),
    }
}

/// The state of a machine whose lock is ours: no keeper lives, whatever stands there.
pub(super) fn settle(folder: &Folder) -> Result<State, Error> {
    let state = folder.state()?;
    if !state.status.needs_keeper() {
        return Ok(state);
    }
    let state = State {
        finished: time::now(),
        ..state.of_the_dead()
    };
    folder.write_state(&state)?;
    Ok(state)
}
