//! What happened to the machines of this host and their networks, a line of JSON each, by whoever did it: a file at its end, written
//! by one call, so that lines of several writers stay whole.
//!
//! When the file has grown long, it is put aside as the one before, and that one is gone; so there are always
//! between one and two lengths of the past.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::mem;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, renameat, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::record::Record;
use crate::spec::time::{self, Nanoseconds};

const NAME: &str = "events";
const BEFORE: &str = "events.before";

/// How long it grows, bytes.
const MOST: u64 = 4 << 20;

/// To what something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// A machine; docker's word for it is in lines of any version.
    #[default]
    Container,
    /// A network.
    Network,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Nanoseconds,
    /// To what.
    #[serde(default, skip_serializing_if = "Actor::is_container")]
    pub actor: Actor,
    /// What, in docker's word: `create`, `start`, `die`…
    pub action: String,
    /// The machine's ID, or the network's.
    pub id: String,
    /// Its name then.
    pub name: String,
    /// A machine's image, as it was asked for.
    pub image: String,
    /// A machine's labels, and what belongs to the action.
    pub attributes: BTreeMap<String, String>,
}

impl Actor {
    /// Whether it is a machine.
    pub fn is_container(&self) -> bool {
        *self == Self::Container
    }
}

impl Event {
    /// `action` on the network of this ID and name, now; with the machine that it concerns, if it is one's.
    pub(super) fn of_network((id, name): (&str, &str), action: &str, machine: Option<&Id>) -> Self {
        let machine = machine.map(|machine| ("container".to_owned(), machine.long().to_owned()));
        Self {
            time: time::now(),
            actor: Actor::Network,
            action: action.to_owned(),
            id: id.to_owned(),
            name: name.to_owned(),
            image: String::new(),
            attributes: machine.into_iter().collect(),
        }
    }

    /// `action` on the machine of `record`, now.
    pub(super) fn now(record: &Record, action: &str, more: &[(&str, &str)]) -> Self {
        let more = more.iter();
        let more = more.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let labels = record.lifecycle().labels.clone();
        Self {
            time: time::now(),
            actor: Actor::Container,
            action: action.to_owned(),
            id: record.id.long().to_owned(),
            name: record.name.clone(),
            image: record.image.clone(),
            attributes: labels.into_iter().chain(more).collect(),
        }
    }
}

/// Adds a line in the folder `machines`.
pub(super) fn append(machines: BorrowedFd<'_>, event: &Event) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    let mut file = File::from(openat(machines, NAME, flags, Mode::RUSR | Mode::WUSR)?);
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// Puts a file aside that has grown long; under the lock of all machines.
pub(super) fn trim(machines: BorrowedFd<'_>) -> io::Result<()> {
    let length = match statat(machines, NAME, AtFlags::empty()) {
        Ok(stat) => stat.st_size.unsigned_abs(),
        Err(Errno::NOENT) => 0,
        Err(errno) => return Err(errno.into()),
    };
    if length > MOST {
        renameat(machines, NAME, machines, BEFORE)?;
    }
    Ok(())
}

/// Reads what happened, and goes on to.
#[derive(Debug)]
pub struct Journal {
    machines: OwnedFd,
    /// The one to read before the one that grows.
    past: Option<File>,
    current: Option<BufReader<File>>,
    /// The beginning of a line whose writer is not done.
    torn: Vec<u8>,
}

impl Journal {
    /// From the oldest that is known, in the folder `machines`.
    pub(super) fn open(machines: OwnedFd) -> io::Result<Self> {
        let past = open(&machines, BEFORE)?;
        Ok(Self {
            machines,
            past,
            current: None,
            torn: Vec::new(),
        })
    }

    /// The next event; `None` when there is none yet.
    pub fn advance(&mut self) -> io::Result<Option<Event>> {
        loop {
            if self.current.is_none() {
                let next = match self.past.take() {
                    None => open(&self.machines, NAME)?,
                    next => next,
                };
                self.current = next.map(BufReader::new);
            }
            let Some(current) = &mut self.current else {
                return Ok(None);
            };
            current.read_until(b'\n', &mut self.torn)?;
            if self.torn.ends_with(b"\n") {
                let line = mem::take(&mut self.torn);
                match serde_json::from_slice(&line) {
                    Ok(event) => return Ok(Some(event)),
                    // Not ours, or of a later version.
                    Err(_) => continue,
                }
            }
            if self.is_current()? {
                return Ok(None);
            }
            // Put aside, and read to its end.
            self.current = None;
            self.torn.clear();
        }
    }

    /// Whether what is read is what is written.
    fn is_current(&self) -> io::Result<bool> {
        let Some(current) = &self.current else {
            return Ok(true);
        };
        let ours = fstat(current.get_ref())?;
        match statat(&self.machines, NAME, AtFlags::empty()) {
            Ok(now) => Ok((now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino)),
            Err(Errno::NOENT) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn open(machines: &OwnedFd, name: &str) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match openat(machines, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
