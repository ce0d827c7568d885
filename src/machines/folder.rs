//! One machine's folder: its files by descriptor, and its lock.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, failed};
use super::record::Record;
use super::state::State;
use crate::spec::{Attempt, SLOT};

/// Names in the folder.
const RECORD: &str = "record.json";
const STATE: &str = "state.json";
const LOCK: &str = "lock";
pub(super) const CONTROL: &str = "control";
pub(super) const LOG: &str = "log";
const ATTEMPTS: &str = "attempts";
const DISK: &str = "disk";
const NEW_DISK: &str = "disk.tmp";

/// Only the owner reads what is in a machine's environment.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Bytes that nearly every document of ours is shorter than.
const ROOM: usize = 4096;

/// Bytes of the longest file of attempts.
const MOST_ATTEMPTS: u64 = 1024 * SLOT as u64;

/// Who only looks whether a keeper lives holds the lock for some microseconds; who wants to be the
/// keeper tries so often before it believes in another one.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(1);

/// The folder of one machine.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

/// The lock of a machine: who holds it is its keeper, or may do to it what only a machine without one
/// takes. A copy of this descriptor in another process holds it too.
#[derive(Debug)]
pub struct Lock(File);

impl Folder {
    /// The folder `path`; `None` where there is none.
    pub(super) fn open(machines: BorrowedFd<'_>, path: PathBuf) -> Result<Option<Self>, Error> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name = path.file_name().unwrap_or_default();
        match openat(machines, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { path, fd })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(failed("open", path)(errno)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle of it.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            path: self.path.clone(),
            fd: self.fd.try_clone()?,
        })
    }

    /// A short path of the file `name` in it, for calls that take no descriptor, while this lives.
    pub(super) fn short_path(&self, name: &str) -> String {
        format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd())
    }

    /// Opens the file `name` in it.
    pub(super) fn file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(openat(&self.fd, name, flags, PRIVATE)?.into())
    }

    /// What was asked; `None` for a machine that was never finished being made, or is gone.
    pub(super) fn record(&self) -> Result<Option<Record>, Error> {
        self.read(RECORD)
    }

    /// What is kept of the machine now, which was `known` of it once: it may have got another name.
    pub fn record_now(&self, known: &Record) -> Record {
        // Of one that is gone that is all.
        let kept = self.record().ok().flatten();
        kept.unwrap_or_else(|| known.clone())
    }

    /// What its keeper wrote last: "created" where none did.
    pub fn state(&self) -> Result<State, Error> {
        Ok(self.read(STATE)?.unwrap_or_default())
    }

    /// Writes the record where nobody looks yet.
    pub(super) fn begin(&self, record: &Record) -> Result<(), Error> {
        self.put(RECORD, record)
    }

    /// Replaces the record.
    pub(super) fn write_record(&self, record: &Record) -> Result<(), Error> {
        self.replace("record.tmp", RECORD, record)
    }

    /// Replaces the state. Only the holder of the lock does.
    pub fn write_state(&self, state: &State) -> Result<(), Error> {
        self.replace("state.tmp", STATE, state)
    }

    /// An empty file for what the workload tries to reach, in place of that of an earlier run.
    pub fn begin_attempts(&self) -> io::Result<File> {
        self.file(ATTEMPTS, OFlags::CREATE | OFlags::RDWR | OFlags::TRUNC)
    }

    /// The disk of what the workload writes, and its bytes: there as long as the machine, begun by its first run.
    pub fn disk(
        &self,
        begin: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(PathBuf, u64), Error> {
        let path = self.path.join(DISK);
        let open = || match self.file(DISK, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Half of one is none.
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
                let mut file = self.file(NEW_DISK, flags)?;
                begin(&mut file)?;
                renameat(&self.fd, NEW_DISK, &self.fd, DISK)?;
                Ok(file)
            }
            opened => opened,
        };
        let len = open()
            .and_then(|file| file.metadata())
            .map(|disk| disk.len());
        match len {
            Ok(len) => Ok((path, len)),
            Err(error) => Err(failed("write", path)(error)),
        }
    }

    /// What the workload of the last run tried to reach, until now.
    pub fn attempts(&self) -> Result<Vec<Attempt>, Error> {
        let read = self.file(ATTEMPTS, OFlags::RDONLY);
        match read.and_then(|file| read_attempts(&file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(failed("read", self.path.join(ATTEMPTS))),
        }
    }

    /// Takes the lock; `None` when a keeper has it.
    pub(super) fn try_lock(&self) -> Result<Option<Lock>, Error> {
        for _ in 0..TRIES {
            match self.try_lock_once()? {
                None => sleep(BETWEEN),
                lock => return Ok(lock),
            }
        }
        Ok(None)
    }

    /// The same, without trying again.
    pub(super) fn try_lock_once(&self) -> Result<Option<Lock>, Error> {
        let flags = OFlags::CREATE | OFlags::RDWR;
        let file = self
            .file(LOCK, flags)
            .map_err(failed("open", self.path.join(LOCK)))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(failed("lock", self.path.join(LOCK))(errno)),
        }
    }

    /// Whether somebody holds the lock.
    pub(super) fn is_locked(&self) -> Result<bool, Error> {
        let file = match self.file(LOCK, OFlags::RDONLY) {
            Ok(file) => file,
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("open", self.path.join(LOCK))(error)),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(errno) => Err(failed("lock", self.path.join(LOCK))(errno)),
        }
    }

    /// Removes it and everything in it, what makes it a machine first.
    pub(super) fn remove(&self) -> Result<(), Error> {
        for name in [RECORD, STATE, CONTROL, LOG, ATTEMPTS, DISK, LOCK] {
            match unlinkat(&self.fd, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(errno) => return Err(failed("remove", self.path.join(name))(errno)),
            }
        }
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(_) => fs::remove_dir_all(&self.path).map_err(failed("remove", &self.path)),
            Ok(()) => Ok(()),
        }
    }

    /// A whole document of ours; `None` where there is none, or one that its writer did not finish.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        match self.file(name, OFlags::RDONLY).and_then(read_whole) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", self.path.join(name))(error)),
        }
    }

    fn put<T: Serialize>(&self, name: &str, document: &T) -> Result<(), Error> {
        let write = || {
            let text = serde_json::to_vec(document)?;
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
            self.file(name, flags)?.write_all(&text)
        };
        write().map_err(failed("write", self.path.join(name)))
    }

    fn replace<T: Serialize>(&self, aside: &str, name: &str, document: &T) -> Result<(), Error> {
        self.put(aside, document)?;
        renameat(&self.fd, aside, &self.fd, name).map_err(failed("write", self.path.join(name)))
    }
}

/// A regular file, in as few calls as it takes: lists read two of each machine.
fn read_whole(mut file: File) -> io::Result<Vec<u8>> {
    let mut text = vec![0; ROOM];
    let count = file.read(&mut text)?;
    text.truncate(count);
    // Less than there was room for is all there is.
    if count == ROOM {
        file.read_to_end(&mut text)?;
    }
    Ok(text)
}

/// Reads what may be written meanwhile: a line that is being written is half of one and half of the other, but not twice.
pub fn read_attempts(file: &File) -> io::Result<Vec<Attempt>> {
    let read = || {
        // Whoever writes it means no more lines than these.
        let mut text = vec![0; file.metadata()?.len().min(MOST_ATTEMPTS) as usize];
        let len = file.read_at(&mut text, 0)?;
        text.truncate(len);
        Ok::<_, io::Error>(text)
    };
    let mut text = read()?;
    for _ in 0..TRIES {
        let again = read()?;
        if again == text {
            break;
        }
        text = again;
    }
    Ok(Attempt::from_slots(&text))
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Lock {
    /// A lock that another process took and handed over.
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
