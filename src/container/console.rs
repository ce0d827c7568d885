//! The workload's terminal: the runtime makes it inside the container, and hands us its master (OCI
//! runtimes' "console socket"). We carry what is typed and shown, as for a machine: the workload gets no
//! hand on the user's own terminal.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use husk_init::job::Size;
use husk_init::sys::{file, terminal};

use super::streams::Relay;
use crate::sys::seqpacket::Seqpacket;
use crate::sys::terminal::{Raw, size};

/// Where the runtime connects to.
#[derive(Debug)]
pub struct Socket {
    /// Its path.
    pub path: PathBuf,
    listener: UnixListener,
}

/// The workload's terminal.
#[derive(Debug)]
pub struct Console {
    master: OwnedFd,
    /// Whether the user types on it.
    types: bool,
}

impl Socket {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        // A runtime that has made a container has connected.
        listener.set_nonblocking(true)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
        })
    }

    /// Takes the terminal that the runtime has made, for a workload that `uid` runs.
    pub fn take(&self, first: Size, types: bool, uid: u32) -> io::Result<Console> {
        let (connection, _) = self.listener.accept()?;
        connection.set_nonblocking(false)?;
        let message = Seqpacket::from(OwnedFd::from(connection)).receive_piece()?;
        let files = message.map(|message| message.files).unwrap_or_default();
        let master = files.into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
        terminal::resize(&master, first)?;
        file::give_to(&terminal::open_slave(&master)?, uid)?;
        Ok(Console { master, types })
    }
}

impl Console {
    /// What is to be carried: what is typed comes from the first of `own`, what is shown goes to the second.
    pub fn relays(&self, own: &[OwnedFd; 3]) -> io::Result<Vec<Relay>> {
        let [typed, shown, _] = own;
        let shown = Relay::output(self.master.try_clone()?, shown.try_clone()?);
        let mut relays = vec![shown];
        if self.types {
            let typed = typed.try_clone()?;
            relays.push(Relay::input(typed, self.master.try_clone()?));
        }
        Ok(relays)
    }

    /// Lends the user's terminal: raw until the answer is dropped, if the user types on it.
    pub fn lend(&self) -> Option<Raw> {
        // A terminal that is gone need not be raw.
        self.types.then(|| Raw::enter(&io::stdin()).ok()).flatten()
    }

    /// The end of who shows it.
    pub fn into_master(self) -> OwnedFd {
        self.master
    }

    /// Another handle of it.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            master: self.master.try_clone()?,
            types: self.types,
        })
    }

    /// Takes the size that the user's terminal has now.
    pub fn follow_size(&self) {
        size().into_iter().for_each(|size| self.resize(size));
    }

    /// Takes this size.
    pub fn resize(&self, size: Size) {
        // Every size is taken.
        let _taken = terminal::resize(&self.master, size);
    }
}
