//! All machines of one home: making, naming, finding, listing and removing them.
//!
//! Names are given and taken away under one lock, that of the folder `machines` itself, held for some file
//! operations at a time. A name counts if the record that it leads to has it: whoever dies in between
//! leaves a name that is free again.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, flock, mkdirat, readlinkat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::error::{Error, failed};
use super::folder::{Folder, Lock};
use super::id::{Id, is_hex};
use super::journal::{self, Event, Journal};
use super::name::invent;
use super::record::Record;
use super::state::{State, Status};
use crate::spec::{Change, Joining, Restart, RunRequest, Update, check_name, nearest, time};

/// Only their owner looks into machines.
const PRIVATE: u32 = 0o700;

/// So many names are invented before the host is believed to have all of them.
const MOST_NAMES: u32 = 64;

/// So often is a machine changed that somebody starts or ends at that moment.
const MOST_TRIES: u32 = 8;

/// The machines of one home.
#[derive(Debug)]
pub struct Machines {
    path: PathBuf,
    folder: OwnedFd,
}

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

/// Holds the lock of all machines.
struct Registering<'a>(&'a OwnedFd);

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
        let Record { id, name, .. } = &held.machine.record;
        self.unlink(name, id)?;
        held.machine.folder.remove()?;
        self.note(&held.machine.record, "destroy", &[]);
        Ok(())
    }

    /// Gives a machine another name.
    pub fn rename(&self, machine: &Machine, name: &str) -> Result<(), Error> {
        let _registering = self.register()?;
        let id = &machine.record.id;
        let old = machine
            .folder
            .record()?
            .ok_or_else(|| no_such(id.short()))?;
        let name = self.free_name(name)?;
        self.link(&name, id)?;
        let record = Record {
            name,
            ..old.clone()
        };
        machine.folder.write_record(&record)?;
        self.unlink(&old.name, id)?;
        self.note(&record, "rename", &[("oldName", &old.name)]);
        Ok(())
    }

    /// Changes a machine, whether somebody keeps it or not.
    pub fn update(&self, mut machine: Machine, update: &Update) -> Result<(), Error> {
        let (id, name) = (machine.record.id.clone(), machine.record.name.clone());
        for _ in 0..MOST_TRIES {
            if machine.kept && machine.update_kept(update)? {
                return Ok(());
            }
            if let Some(held) = self.hold(machine)? {
                return self.amend(&held.machine.folder, update).map(drop);
            }
            // Somebody has just started it, or is about to end.
            machine = self.machine(&id)?.ok_or_else(|| no_such(id.short()))?;
        }
        Err(Error::Busy(name))
    }

    /// What is asked of the machine in `folder` now.
    pub fn request(&self, folder: &Folder) -> Result<RunRequest, Error> {
        let record = folder.record()?.ok_or_else(|| gone(folder))?;
        Ok(record.request)
    }

    /// Writes down what is asked of the machine in `folder` from now on.
    pub fn amend(&self, folder: &Folder, update: &Update) -> Result<Change, Error> {
        let _registering = self.register()?;
        let mut record = folder.record()?.ok_or_else(|| gone(folder))?;
        let change = record.update(update).map_err(|mistakes| Error::Unchanged {
            name: record.name.clone(),
            why: mistakes.to_string(),
        })?;
        folder.write_record(&record)?;
        self.note(&record, "update", &[]);
        Ok(change)
    }

    /// Changes the networks that a machine is on from its next start.
    pub fn set_networks(&self, machine: &Machine, networks: Vec<Joining>) -> Result<(), Error> {
        let _registering = self.register()?;
        let id = &machine.record.id;
        let mut record = machine
            .folder
            .record()?
            .ok_or_else(|| no_such(id.short()))?;
        record.request.networks = networks;
        machine.folder.write_record(&record)
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

    fn register(&self) -> Result<Registering<'_>, Error> {
        let locked = flock(&self.folder, FlockOperation::LockExclusive);
        locked.map_err(failed("lock", &self.path))?;
        Ok(Registering(&self.folder))
    }

    /// `name`, if nobody has it.
    fn free_name(&self, name: &str) -> Result<String, Error> {
        check_name(name).map_err(|_| Error::BadName(name.to_owned()))?;
        match self.holder(name)? {
            Some(id) => Err(Error::NameTaken {
                name: name.to_owned(),
                id: id.short().to_owned(),
            }),
            None => Ok(name.to_owned()),
        }
    }

    fn invent_name(&self) -> Result<String, Error> {
        let mut tries = 0;
        loop {
            match self.free_name(&invent(tries)?) {
                Err(Error::NameTaken { .. }) if tries < MOST_NAMES => tries += 1,
                name => return name,
            }
        }
    }

    /// The machine whose record has `name`.
    fn holder(&self, name: &str) -> Result<Option<Id>, Error> {
        let Some(id) = self.target(name)? else {
            return Ok(None);
        };
        let record = match self.open_folder(&id)? {
            Some(folder) => folder.record()?,
            None => None,
        };
        Ok(record.filter(|record| record.name == name).map(|_| id))
    }

    fn named(&self, name: &str) -> Result<Option<Machine>, Error> {
        let id = match check_name(name) {
            Ok(()) => self.target(name)?,
            Err(_) => None,
        };
        let machine = id.map(|id| self.machine(&id)).transpose()?.flatten();
        Ok(machine.filter(|machine| machine.record.name == name))
    }

    /// The ID that the link of `name` has.
    fn target(&self, name: &str) -> Result<Option<Id>, Error> {
        let link = format!("names/{name}");
        match readlinkat(&self.folder, &link, Vec::new()) {
            Ok(text) => {
                let text = text.to_str().unwrap_or_default();
                Ok(text.strip_prefix("../").and_then(Id::parse))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("read", self.path.join(link))(errno)),
        }
    }

    /// Has `name` lead to `id`, whatever it led to.
    fn link(&self, name: &str, id: &Id) -> Result<(), Error> {
        let link = format!("names/{name}");
        let target = format!("../{id}");
        let create = || symlinkat(&target, &self.folder, &link);
        let linked = match create() {
            // Nobody's, as was seen under the lock.
            Err(Errno::EXIST) => {
                unlinkat(&self.folder, &link, AtFlags::empty()).and_then(|()| create())
            }
            linked => linked,
        };
        linked.map_err(failed("create", self.path.join(link)))
    }

    /// Takes `name` away from `id`, if it has it.
    fn unlink(&self, name: &str, id: &Id) -> Result<(), Error> {
        if self.target(name)?.as_ref() != Some(id) {
            return Ok(());
        }
        let link = format!("names/{name}");
        match unlinkat(&self.folder, &link, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove", self.path.join(link))(errno)),
        }
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

    fn open_folder(&self, id: &Id) -> Result<Option<Folder>, Error> {
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

impl Held {
    /// When it is started again, by what is kept of it now.
    pub fn restart(&self) -> Restart {
        let kept = self.machine.folder.record().ok().flatten();
        let record = kept.as_ref().unwrap_or(&self.machine.record);
        record.lifecycle().restart
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
fn look_at_state(folder: &Folder) -> Result<State, Error> {
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
fn settle(folder: &Folder) -> Result<State, Error> {
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

/// A machine that was removed meanwhile.
fn gone(folder: &Folder) -> Error {
    let id = folder.path().file_name().unwrap_or_default();
    no_such(&id.to_string_lossy())
}

fn no_such(asked: &str) -> Error {
    Error::NoSuch {
        asked: asked.to_owned(),
        hint: None,
    }
}
