//! Why a comparison does not come to its end.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::parity;
use crate::{image, volumes};

/// Why there is no report, or only a part of one.
#[derive(Debug, Error)]
pub enum Error {
    /// Somebody asked for the end.
    #[error("interrupted")]
    Interrupted,
    /// The command does not do what it should, to begin with.
    #[error("behind `{wall}` the command ends with status {status}{}: a start that fails is not timed", tell(.message))]
    Fails {
        /// The wall.
        wall: String,
        /// The status.
        status: i32,
        /// What it said.
        message: String,
    },
    /// The probe cannot do its work.
    #[error("behind `{wall}` husk's probe does not run (status {status}){}", tell(.message))]
    Probe {
        /// The wall.
        wall: String,
        /// The status.
        status: i32,
        /// What it said.
        message: String,
    },
    /// An instance that should idle ended.
    #[error("behind `{wall}` instance {number} does not come up{}", tell(.message))]
    Instance {
        /// The wall.
        wall: String,
        /// Which one.
        number: usize,
        /// What it said.
        message: String,
    },
    /// What a command does cannot be seen.
    #[error(transparent)]
    Parity(parity::Error),
    /// Caches stay warm.
    #[error("cannot drop the page cache: --cold needs root")]
    Cold(#[source] io::Error),
    /// There is nobody outside of the walls to speak to.
    #[error("cannot serve the probe's connections")]
    Peer(#[source] io::Error),
    /// There is no store for the volume that is measured.
    #[error(transparent)]
    Store(#[from] image::Error),
    /// The volume that is measured cannot be made, or not be removed.
    #[error(transparent)]
    Volume(#[from] volumes::Error),
    /// The results cannot be kept.
    #[error("cannot write `{}`", path.display())]
    Keep {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process or a pipe that the host does not give.
    #[error("cannot run and watch a command")]
    Harness(#[source] io::Error),
}

impl From<parity::Error> for Error {
    fn from(error: parity::Error) -> Self {
        match error {
            parity::Error::Interrupted => Self::Interrupted,
            other => Self::Parity(other),
        }
    }
}

fn tell(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(" ({message})")
    }
}
