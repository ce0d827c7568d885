//! A container of either runtime.

use std::os::fd::OwnedFd;
use std::path::Path;

use husk_init::workload;

use super::embedded::Embedded;
use super::error::Error;
use super::program::{self, Program};
use crate::spec::OciRuntime;

/// What a runtime makes a container of.
#[derive(Debug)]
pub struct Bundle<'a> {
    /// The container's name.
    pub id: &'a str,
    /// The directory with `config.json`.
    pub path: &'a Path,
    /// Where the runtime keeps what it must remember.
    pub state: &'a Path,
    /// Where the runtime sends the workload's terminal, if it gets one.
    pub console: Option<&'a Path>,
    /// What the workload executes.
    pub program: &'a workload::Program,
    /// Its name, for messages.
    pub command: &'a [u8],
}

/// A container that waits for the order to start.
pub enum Created {
    /// husk's own.
    Embedded(Box<Embedded>),
    /// A program's.
    Program(Program),
}

impl Created {
    /// Has `runtime` make it.
    pub fn create(
        runtime: &OciRuntime,
        bundle: &Bundle<'_>,
        streams: [OwnedFd; 3],
    ) -> Result<Self, Error> {
        match runtime {
            OciRuntime::Embedded => {
                Embedded::create(bundle, streams).map(|made| Self::Embedded(Box::new(made)))
            }
            OciRuntime::Program(name) => {
                let path = program::find(name)?;
                Program::create(&path, bundle, streams).map(Self::Program)
            }
        }
    }

    /// Its first process.
    pub fn pid(&self) -> i32 {
        match self {
            Self::Embedded(made) => made.pid,
            Self::Program(made) => made.pid,
        }
    }

    /// Lets it go.
    pub fn start(&mut self) -> Result<(), Error> {
        match self {
            Self::Embedded(made) => made.start(),
            Self::Program(made) => made.start(),
        }
    }

    /// Has the runtime forget it, once its processes are gone.
    pub fn delete(&self) {
        if let Self::Program(made) = self {
            made.delete();
        }
    }
}
