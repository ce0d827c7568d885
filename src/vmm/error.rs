//! What goes wrong between a spec and a workload.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use husk_init::exit::{Failure, Stage};
use thiserror::Error;

use super::console::printable;
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
    #[error("{}", describe(.0))]
    Refused(Failure),
    /// The guest kernel panicked.
    #[error("the guest kernel panicked; its last words:{}", indent(.console))]
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
        "the guest did not report within {} s: raise --boot-timeout, or see -vv{}",
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

/// The whole chain of an error on one line: what, then why, then why that.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let why = cause.to_string();
        // A transparent error says its source's words already.
        if !text.ends_with(&why) {
            text = format!("{text}: {why}");
        }
        source = cause.source();
    }
    text
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

/// A failure inside the guest as a sentence: what, on what, why.
fn describe(failure: &Failure) -> String {
    let detail = excerpt(&failure.detail);
    let why = match failure.errno {
        0 => String::new(),
        errno => format!(": {}", errno_text(errno)),
    };
    match failure.stage {
        Stage::Exec => describe_exec(&detail, failure.errno),
        Stage::User => format!(
            "the image has no user or group `{detail}`{why}: give one that its /etc/passwd and /etc/group name, or numbers"
        ),
        Stage::Workdir => format!("cannot make or enter the working directory `{detail}`{why}"),
        Stage::Volume => format!("cannot mount `{detail}` in the guest{why}"),
        Stage::Limit => format!("cannot set the limit `{detail}` in the guest{why}"),
        Stage::Mount => format!("the guest cannot mount `{detail}`{why}"),
        Stage::Identity => format!("the guest cannot set its `{detail}`{why}"),
        Stage::Files => format!("the guest cannot write `{detail}`{why}"),
        Stage::Stream => format!("the guest cannot connect the workload's streams ({detail}){why}"),
        Stage::Fork => format!("the guest cannot start a process{why}: give it more --memory"),
        Stage::Protocol => format!("the guest did not understand the host ({detail}){why}"),
    }
}

/// As much of a guest's words as a sentence takes.
fn excerpt(bytes: &[u8]) -> String {
    const MOST: usize = 300;
    let text = printable(&bytes[..bytes.len().min(MOST)]);
    if bytes.len() > MOST {
        format!("{text}…")
    } else {
        text
    }
}

fn describe_exec(command: &str, errno: i32) -> String {
    match errno {
        libc::ENOENT | libc::ENOTDIR => {
            format!("`{command}`: command not found in the image (or its interpreter is missing)")
        }
        libc::ENOEXEC => format!(
            "`{command}`: not a program: neither ELF for x86_64 nor a script that begins with #!"
        ),
        libc::E2BIG => {
            format!("`{command}`: arguments and environment are longer than Linux takes")
        }
        errno => format!("`{command}`: cannot be executed: {}", errno_text(errno)),
    }
}

fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_however_long_its_detail() {
        let failure = Failure {
            stage: Stage::Exec,
            errno: libc::ENOENT,
            detail: b"a\n\x1b[2J\xff".repeat(50_000),
        };
        let said = sentence(&Error::Refused(failure));
        assert!(
            said.len() < 2000 && !said.contains(char::is_control),
            "{said}"
        );
        assert!(said.contains("command not found"));
    }
}
