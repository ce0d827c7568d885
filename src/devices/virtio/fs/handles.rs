//! What the guest has open.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

/// An open file or directory.
#[derive(Debug)]
pub struct Handle {
    /// The host's file.
    pub fd: OwnedFd,
    /// The share that it is in.
    pub share: usize,
    /// Whether it is a directory.
    pub directory: bool,
}

/// All of them, under numbers that are not used again.
#[derive(Debug, Default)]
pub struct Handles {
    open: HashMap<u64, Arc<Handle>>,
    next: u64,
}

impl Handles {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Keeps `handle`, and gives its number.
    pub fn keep(&mut self, handle: Handle) -> u64 {
        self.next += 1;
        self.open.insert(self.next, Arc::new(handle));
        self.next
    }

    /// The open file `number`; EBADF if it is none.
    pub fn file(&self, number: u64) -> Result<Arc<Handle>, Errno> {
        self.get(number, false)
    }

    /// The open directory `number`; EBADF if it is none.
    pub fn directory(&self, number: u64) -> Result<Arc<Handle>, Errno> {
        self.get(number, true)
    }

    /// Whichever is open as `number`; EBADF if nothing is.
    pub fn any(&self, number: u64) -> Result<Arc<Handle>, Errno> {
        self.open.get(&number).cloned().ok_or(Errno::BADF)
    }

    fn get(&self, number: u64, directory: bool) -> Result<Arc<Handle>, Errno> {
        let handle = self.any(number)?;
        if handle.directory == directory {
            Ok(handle)
        } else {
            Err(Errno::BADF)
        }
    }

    /// Closes `number`.
    pub fn close(&mut self, number: u64) -> Result<(), Errno> {
        self.open.remove(&number).map(drop).ok_or(Errno::BADF)
    }
}
