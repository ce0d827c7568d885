//! What goes wrong between a spec and a workload.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use husk_init::exit::Failure;
use thiserror::Error;

use crate::spec::sentence::describe;
use crate::{boot, kvm};

/// Why a machine did not run its workload to the end.
#[derive(Debug, Error)]
pub enum Error {
    /// KVM is not there, or not for us.
    #[error(transparent)]
    Kvm(#[from] kvm::Error),
    /// A file of the machine cannot be opened.
    #[error("cannot open `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel, or its initial RAM disk, cannot be booted.
    #[error("cannot boot `{}`", path.display())]
    Boot {
        /// The file.
        path: PathBuf,
        /// Why.
        source: boot::Error,
    },
    /// The host gives no eventfd, thread or socket.
    #[error("the host refuses {what}")]
    Host {
        /// What was asked for.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The machine's process could not be started or spoken to.
    #[error("cannot run the machine's process")]
    Process(#[source] io::Error),
    /// The machine could not be built.
    #[error("{0}")]
    Machine(String),
    /// The workload never began.
    #[error("{}", describe(.0, "the guest"))]
    Refused(Failure),
    /// The guest kernel panicked.
    #[error("the guest kernel panicked:{}", indent(.console))]
    Panicked {
        /// Last lines of the console.
        console: Vec<String>,
    },
    /// The guest ended before its workload did.
    #[error("the guest ended before its workload did ({reason}){}", indent(.console))]
    Vanished {
        /// What is known.
        reason: String,
        /// Last lines of the console.
        console: Vec<String>,
    },
    /// The guest did not report in time.
    #[error(
        "the guest did not report within {} s: raise --boot-timeout, or see --verbose twice{}",
        deadline.as_secs(),
        indent(.console)
    )]
    Silent {
        /// How long we waited.
        deadline: Duration,
        /// Last lines of the console.
        console: Vec<String>,
    },
    /// The guest broke the protocol of the control channel.
    #[error("the guest broke the protocol: {0}")]
    Protocol(String),
    /// A stream of the user's failed.
    #[error("cannot carry the workload's {stream}")]
    Stream {
        /// Which one.
        stream: &'static str,
        /// Why.
        source: io::Error,
    },
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

fn indent(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}

/// The host gives no more threads.
pub(super) fn no_thread(source: io::Error) -> Error {
    Error::Host {
        what: "a thread",
        source,
    }
}

/// The host gives no more eventfds.
pub(super) fn no_event(source: io::Error) -> Error {
    Error::Host {
        what: "an eventfd",
        source,
    }
}
