//! Why a run did not come to its workload's end, and the exit status of that.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::{files, mounts, tap};
use crate::spec::SpecError;
use crate::spec::sentence::sentence;
use crate::{container, image, machines, vmm, volumes};

/// Why a run did not come to the workload's own end.
#[derive(Debug, Error)]
pub enum Error {
    /// The request is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A reference to an archive that does not say which image to run.
    #[error("`{0}` has several images: `husk load` them, and run one by its name")]
    SeveralImages(String),
    /// The image is not there, or broken.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// Files of the host cannot be shown.
    #[error(transparent)]
    Mounts(#[from] mounts::Error),
    /// A volume cannot be had.
    #[error(transparent)]
    Volumes(#[from] volumes::Error),
    /// The machine failed, or the guest did.
    #[error(transparent)]
    Machine(#[from] vmm::Error),
    /// The container failed.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// This process has no streams of its own.
    #[error("cannot use the standard streams, or take signals")]
    Streams(#[from] io::Error),
    /// The machines of this host.
    #[error(transparent)]
    Registry(#[from] machines::Error),
    /// A machine in the background did not start; its keeper says why.
    #[error("{}", .lines.join("; "))]
    Kept {
        /// Why, a sentence each.
        lines: Vec<String>,
        /// The exit status by Docker's table.
        status: u8,
    },
    /// A keeper ended before it said anything.
    #[error("the machine's keeper died before the workload began: run it without -d to see why")]
    KeeperDied,
    /// The file for the machine's ID cannot be made, or is there already.
    #[error("cannot write the machine's ID to `{}`", path.display())]
    IdFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no place on the network of the host's that was asked for.
    #[error(transparent)]
    Tap(#[from] tap::Error),
    /// A port of the host's cannot be published.
    #[error("--publish: cannot listen on {address}; if somebody else does, choose another port")]
    Publish {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A network cannot be had.
    #[error(transparent)]
    Networks(#[from] crate::networks::Error),
    /// The switch of a network does not do what it should.
    #[error("the switch of network `{network}` does not work; try again")]
    Switch {
        /// Which network.
        network: String,
        /// Why.
        source: io::Error,
    },
    /// A network has no place for a machine.
    #[error("machine `{machine}` cannot be on network `{network}`: it {why}")]
    NoSeat {
        /// Which network.
        network: String,
        /// Which machine.
        machine: String,
        /// Why, as the rest of a sentence about the machine.
        why: String,
    },
    /// A machine is not on the network that it is to leave.
    #[error("machine `{machine}` is not on network `{network}`: `husk inspect` lists its networks")]
    NotThere {
        /// Which network.
        network: String,
        /// Which machine.
        machine: String,
    },
    /// A machine that lost a place on a network cannot have it again.
    #[error("the machine is without network `{network}`: its keeper {what}")]
    Rejoin {
        /// Which network.
        network: String,
        /// Why.
        what: String,
    },
    /// A machine that runs cannot be reached.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// A processor that is not there, or not for this process.
    #[error(
        "--cpuset-cpus: CPU {number} is not among those that husk may use here; taskset -pc $$ lists them"
    )]
    NoSuchCpu {
        /// Its number.
        number: usize,
    },
    /// A run without a machine.
    #[error("the run has no machine that it belongs to")]
    Unregistered,
    /// The host has no randomness to give.
    #[error("cannot get random bytes from the kernel: {0}")]
    Random(getrandom::Error),
}

impl Error {
    /// The exit status by Docker's table.
    pub fn status(&self) -> u8 {
        match self {
            Self::Machine(error) => error.status(),
            Self::Container(error) => error.status(),
            Self::Kept { status, .. } => *status,
            _ => 125,
        }
    }

    /// What is wrong, a line each.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Spec(SpecError { problems }) => problems.clone(),
            Self::Kept { lines, .. } => lines.clone(),
            other => vec![sentence(other)],
        }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Streams(errno.into())
    }
}
