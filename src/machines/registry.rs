//! All machines of one home: making, finding, listing and removing them.
//!
//! Names are given and taken away under one lock, that of the folder `machines` itself, held for some file
//! operations at a time. A name counts if the record that it leads to has it: whoever dies in between
//! leaves a name that is free again.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, flock, mkdirat};

use super::error::{Error, failed};
use super::folder::{Folder, Lock};
use super::id::{Id, is_hex};
use super::journal::{self, Event, Journal};
use super::machine::{Held, Listed, Machine, look_at_state, settle};
use super::record::Record;
use super::state::{State, Status};
use crate::spec::{check_name, nearest};

/// Only their owner looks into machines.
const PRIVATE: u32 = 0o700;

/// The machines of one home.
#[derive(Debug)]
pub struct Machines {
    pub(super) path: PathBuf,
    pub(super) folder: OwnedFd,
}

/// Holds the lock of all machines.
pub(super) struct Registering<'a>(&'a OwnedFd);

impl Drop for Registering<'_> {
    fn drop(&mut self) {
        // The descriptor's end would do the same.
        let _unlocked = flock(self.0, FlockOperation::Unlock);
    }
}

impl Machines {
    /// The machines below `home`.
    pub fn open(home: &Path) -> Result<Self, Error> {
        let path = home.join("machines");
        let folder = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let names = path.join("names");
                let mut make = DirBuilder::new();
                let made = make.recursive(true).mode(PRIVATE).create(&names);
                made.map_err(failed("create", names))?;
                File::open(&path)
            }
            opened => opened,
        };
        let folder = folder.map_err(failed("open", &path))?.into();
        Ok(Self { path, folder })
    }

    /// Another handle of them.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            path: self.path.clone(),
            folder: self.folder.try_clone()?,
        })
    }

    /// Writes down that `action` happened to the machine of `record`, with what belongs to it.
    pub fn note(&self, record: &Record, action: &str, more: &[(&str, &str)]) {
        // It is for who is curious: nothing depends on it.
        let _unwritten = journal::append(self.folder.as_fd(), &Event::now(record, action, more));
    }

    /// The same of a network, with its ID and name; of the machine that it concerns, if it is one's.
    pub fn note_network(&self, network: (&str, &str), action: &str, machine: Option<&Id>) {
        let event = Event::of_network(network, action, machine);
        let _unwritten = journal::append(self.folder.as_fd(), &event);
    }

    /// What happened, from the oldest that is known.
    pub fn journal(&self) -> Result<Journal, Error> {
        let opened = self.folder.try_clone().and_then(Journal::open);
        opened.map_err(failed("read what happened in", &self.path))
    }

    /// Makes the machine `id`: `draft` writes its record, given its name: `wanted`, or an invented one. It
    /// is the caller's alone until the lock in what is returned is let go of.
    pub fn create(
        &self,
        id: Id,
        wanted: Option<&str>,
        draft: impl FnOnce(String) -> Record,
    ) -> Result<Held, Error> {
        let _registering = self.register()?;
        journal::trim(self.folder.as_fd()).map_err(failed("put aside a file of", &self.path))?;
        let name = match wanted {
            Some(name) => self.free_name(name)?,
            None => self.invent_name()?,
        };
        let path = self.path.join(id.long());
        mkdirat(&self.folder, id.long(), Mode::RWXU).map_err(failed("create", &path))?;
        let folder = Folder::open(self.folder.as_fd(), path)?.ok_or_else(|| no_such(id.long()))?;
        let finish = || {
            let lock = folder
                .try_lock_once()?
                .ok_or_else(|| Error::Busy(name.clone()))?;
            let record = draft(name.clone());
            folder.begin(&record)?;
            self.link(&name, &id)?;
            Ok((record, lock))
        };
        match finish() {
            Ok((record, lock)) => {
                self.note(&record, "create", &[]);
                Ok(Held {
                    machine: Machine {
                        record,
                        state: State::default(),
                        kept: true,
                        folder,
                    },
                    lock,
                })
            }
            Err(error) => {
                // What cannot be removed either is swept by who comes later.
                let _left = folder.remove();
                Err(error)
            }
        }
    }

    /// The machine of a name, an ID, or the beginning of one.
    pub fn find(&self, asked: &str) -> Result<Machine, Error> {
        if let Some(machine) = self.named(asked)? {
            return Ok(machine);
        }
        if is_hex(asked) {
            let mut found = self
                .ids()?
                .into_iter()
                .filter(|id| id.long().starts_with(asked));
            match (found.next(), found.next()) {
                (Some(_), Some(_)) => return Err(Error::Ambiguous(asked.to_owned())),
                (Some(id), None) => {
                    if let Some(machine) = self.machine(&id)? {
                        return Ok(machine);
                    }
                }
                (None, _) => {}
            }
        }
        let names: Vec<_> = self
            .list(false)?
            .into_iter()
            .map(|m| m.record.name)
            .collect();
        Err(Error::NoSuch {
            asked: asked.to_owned(),
            hint: nearest(asked, names.iter().map(String::as_str)),
        })
    }

    /// Every machine, the newest first; with `running_only` those that run. What its maker did not
    /// finish before it died is removed.
    pub fn list(&self, running_only: bool) -> Result<Vec<Listed>, Error> {
        let mut machines = Vec::new();
        let mut unfinished = Vec::new();
        for id in self.ids()? {
            match self.look(&id, running_only)? {
                Look::Machine(machine) => {
                    let Machine { record, state, .. } = *machine;
                    machines.push(Listed { record, state });
                }
                Look::Unfinished => unfinished.push(id),
                Look::Resting | Look::Gone => {}
            }
        }
        if !unfinished.is_empty() {
            self.sweep(&unfinished)?;
        }
        machines.sort_unstable_by(|Listed { record: a, .. }, Listed { record: b, .. }| {
            (b.created, &b.id).cmp(&(a.created, &a.id))
        });
        Ok(machines)
    }

    /// Takes a machine that no keeper has; `None` when one has it.
    pub fn hold(&self, machine: Machine) -> Result<Option<Held>, Error> {
        let lock = match machine.folder.try_lock() {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(None),
            // Its folder is gone, and so is the machine.
            Err(Error::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(no_such(machine.record.id.short()));
            }
            Err(error) => return Err(error),
        };
        // It may have been removed, or started and ended, before the lock was ours.
        let id = machine.record.id;
        let record = machine
            .folder
            .record()?
            .ok_or_else(|| no_such(id.short()))?;
        let state = settle(&machine.folder)?;
        let folder = machine.folder;
        let machine = Machine {
            record,
            state,
            kept: true,
            folder,
        };
        Ok(Some(Held { machine, lock }))
    }

    /// Removes a machine.
    pub fn remove(&self, held: &Held) -> Result<(), Error> {
        let _registering = self.register()?;
        // It may have got another name since it was taken.
        let record = held.record();
        self.unlink(&record.name, &record.id)?;
        held.machine.folder.remove()?;
        self.note(&record, "destroy", &[]);
        Ok(())
    }

    /// The machine `id` as its keeper sees it, whose lock the caller has.
    pub fn adopt(&self, id: &str, lock: Lock) -> Result<Held, Error> {
        let id = Id::parse(id).ok_or_else(|| no_such(id))?;
        let folder = self.open_folder(&id)?.ok_or_else(|| no_such(id.short()))?;
        let record = folder.record()?.ok_or_else(|| no_such(id.short()))?;
        let state = folder.state()?;
        let machine = Machine {
            record,
            state,
            kept: true,
            folder,
        };
        Ok(Held { machine, lock })
    }

    pub(super) fn register(&self) -> Result<Registering<'_>, Error> {
        let locked = flock(&self.folder, FlockOperation::LockExclusive);
        locked.map_err(failed("lock", &self.path))?;
        Ok(Registering(&self.folder))
    }

    fn named(&self, name: &str) -> Result<Option<Machine>, Error> {
        let id = match check_name(name) {
            Ok(()) => self.target(name)?,
            Err(_) => None,
        };
        let machine = id.map(|id| self.machine(&id)).transpose()?.flatten();
        Ok(machine.filter(|machine| machine.record.name == name))
    }

    fn ids(&self) -> Result<Vec<Id>, Error> {
        let entries = fs::read_dir(&self.path).map_err(failed("read", &self.path))?;
        let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
        let names = names.map_err(failed("read", &self.path))?;
        Ok(names
            .iter()
            .filter_map(|name| Id::parse(name.to_str()?))
            .collect())
    }

    pub(super) fn open_folder(&self, id: &Id) -> Result<Option<Folder>, Error> {
        Folder::open(self.folder.as_fd(), self.path.join(id.long()))
    }

    /// The machine `id`; `None` where there is none any more.
    pub fn machine(&self, id: &Id) -> Result<Option<Machine>, Error> {
        let Look::Machine(mut machine) = self.look(id, false)? else {
            return Ok(None);
        };
        machine.refresh()?;
        Ok(Some(*machine))
    }

    fn look(&self, id: &Id, running_only: bool) -> Result<Look, Error> {
        let Some(folder) = self.open_folder(id)? else {
            return Ok(Look::Gone);
        };
        let state = look_at_state(&folder)?;
        if running_only && !state.status.needs_keeper() {
            return Ok(Look::Resting);
        }
        let record = folder.record()?;
        if state.status == Status::Exited && record.as_ref().is_some_and(|r| r.lifecycle().remove) {
            return self.finish_removal(folder);
        }
        Ok(match record {
            Some(record) => Look::Machine(Box::new(Machine {
                record,
                kept: state.status.needs_keeper(),
                state,
                folder,
            })),
            None => Look::Unfinished,
        })
    }

    /// A machine with `--rm` whose keeper was killed before it could remove it.
    fn finish_removal(&self, folder: Folder) -> Result<Look, Error> {
        if let Some(lock) = folder.try_lock_once()?
            && let Some(record) = folder.record()?
        {
            let state = folder.state()?;
            let machine = Machine {
                record,
                state,
                kept: true,
                folder,
            };
            self.remove(&Held { machine, lock })?;
        }
        Ok(Look::Gone)
    }

    /// Removes what has no record, and nobody who is about to write one.
    fn sweep(&self, ids: &[Id]) -> Result<(), Error> {
        let _registering = self.register()?;
        for id in ids {
            let Some(folder) = self.open_folder(id)? else {
                continue;
            };
            if folder.record()?.is_none() && folder.try_lock_once()?.is_some() {
                folder.remove()?;
            }
        }
        Ok(())
    }
}

/// What is at the place of an ID.
enum Look {
    Machine(Box<Machine>),
    /// One that does not run, when only those were asked for that do.
    Resting,
    /// Something without a record.
    Unfinished,
    Gone,
}

/// A machine that was removed meanwhile.
pub(super) fn gone(folder: &Folder) -> Error {
    let id = folder.path().file_name().unwrap_or_default();
    no_such(&id.to_string_lossy())
}

pub(super) fn no_such(asked: &str) -> Error {
    Error::NoSuch {
        asked: asked.to_owned(),
        hint: None,
    }
}
