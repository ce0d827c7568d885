//! What others do to a container that runs: signals, halting it, the size of its terminal.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;

use husk_init::job::Size;

use super::console::Console;
use super::freezer::Freezer;
use super::inside::archive;
use super::running::Init;
use crate::spec::Signal;

/// A way to reach a container, from any thread, as long as it lives.
#[derive(Debug)]
pub struct Reach {
    pub(super) init: Init,
    /// Where it was made.
    pub(super) workspace: PathBuf,
    pub(super) freezer: Option<Freezer>,
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

    /// Has husk's own archiver work in it, told what by `words`, with `files` as its streams.
    pub fn archive(&self, words: &[Vec<u8>], files: [OwnedFd; 3]) -> io::Result<Child> {
        archive(&self.init, &self.workspace, words, files)
    }

    /// A size for its terminal, if it has one.
    pub fn resize(&self, size: Size) {
        self.console.iter().for_each(|console| console.resize(size));
    }
}
