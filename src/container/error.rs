//! What goes wrong between a spec and a workload behind the namespace wall.

use std::io;
use std::path::PathBuf;

use husk_init::exit::Failure;
use thiserror::Error;

use crate::spec::sentence::describe;
use crate::sys::tun::PATH as TUN;

/// Why a container did not run its workload to the end.
#[derive(Debug, Error)]
pub enum Error {
    /// The host makes no namespaces for us.
    #[error("this host gives no {what}: run as root, or allow user namespaces")]
    Namespaces {
        /// Which.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The container's root cannot be put together.
    #[error("cannot make the container's root: {step}")]
    Root {
        /// What failed.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The workload never began.
    #[error("{}", describe(.0, "the container"))]
    Refused(Failure),
    /// A user that an ordinary user's container does not have.
    #[error(
        "the container has no id {id}: run as root, or give yourself a range in /etc/subuid and /etc/subgid"
    )]
    NoSuchId {
        /// The user's, or its group's.
        id: u32,
    },
    /// A runtime that is not there.
    #[error("no OCI runtime `{}`: install it, or give --oci-runtime its path", .0.display())]
    NoRuntime(PathBuf),
    /// The runtime refused.
    #[error("{runtime} cannot {verb} the container: {text}")]
    Runtime {
        /// Its name.
        runtime: String,
        /// What it was asked to do.
        verb: &'static str,
        /// What it said.
        text: String,
    },
    /// The host makes no interface for the container.
    #[error(
        "the container's network needs {TUN}, which this host does not give: load its module (modprobe tun), let your \
         user open it, or give --network none"
    )]
    NoInterface {
        /// Why not.
        source: io::Error,
    },
    /// The network's process ended.
    #[error("the container's network broke: {0}")]
    Network(String),
    /// A disk that is none.
    #[error("{flag}: `{}` is no disk of this host's: lsblk -p lists them", path.display())]
    NoDisk {
        /// The flag.
        flag: &'static str,
        /// What it names.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A word that a bundle cannot carry.
    #[error("`{0}` is not UTF-8, and an OCI bundle carries nothing else: leave --oci-runtime away")]
    NotText(String),
    /// A process, a pipe or a descriptor that the host does not give.
    #[error("cannot run the container's processes")]
    Process(#[source] io::Error),
}

impl Error {
    /// The exit status by Docker's table.
    pub fn status(&self) -> u8 {
        match self {
            Self::Refused(failure) => failure.status(),
            _ => 125,
        }
    }
}

/// The error of a step on the way to the container's root.
pub(super) fn root(step: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Root { step, source }
}
