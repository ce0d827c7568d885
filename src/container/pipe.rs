//! husk's ends of what a process of a container has as its streams: of pipes, or of a terminal.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use rustix::event::{PollFd, PollFlags, poll};

use crate::sessions::Wire;
use crate::sys::lock::lock;

/// One end. Others may hold the process's one for ever, so it is not their end alone that ends it.
#[derive(Debug)]
pub struct Pipe {
    end: File,
    /// Hangs up when nothing more is to be carried.
    over: PipeReader,
    stays: Mutex<Option<PipeWriter>>,
}

impl Pipe {
    /// Of this end.
    pub fn of(end: OwnedFd) -> io::Result<Self> {
        let (over, stays) = io::pipe()?;
        Ok(Self {
            end: end.into(),
            over,
            stays: Mutex::new(Some(stays)),
        })
    }

    /// Whether there may be something to read.
    fn wait(&self) -> io::Result<bool> {
        let mut entries = [
            PollFd::new(&self.end, PollFlags::IN),
            PollFd::new(&self.over, PollFlags::empty()),
        ];
        loop {
            match poll(&mut entries, None) {
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) => break,
            }
        }
        Ok(entries[1].revents().is_empty())
    }
}

impl Wire for Pipe {
    fn try_clone(&self) -> io::Result<Self> {
        Self::of(self.end.try_clone()?.into())
    }

    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.wait()? {
            true => (&self.end).read(bytes),
            false => Ok(0),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.end).write(bytes)
    }

    /// A pipe's end is read when all its writers are gone, and this one goes now.
    fn end_input(&self) {}

    fn hang_up(&self) {
        lock(&self.stays).take();
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}
