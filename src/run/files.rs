//! Files in and out of a machine: a session with husk's own archiver in it, and what is said of it.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::{self, JoinHandle};

use husk_init::archive::program::Order;
use thiserror::Error;

use crate::machines::{self, Answer, Line, Machine, Reply};
use crate::spec::Exec;

/// Why files cannot be had.
#[derive(Debug, Error)]
pub enum Error {
    /// The machine, or who keeps it.
    #[error(transparent)]
    Machine(#[from] machines::Error),
    /// It rests.
    #[error(
        "`{0}` does not run, and what it had changed is gone with its last run: `husk start {0}` first"
    )]
    Rests(String),
    /// The archiver did not start, in words.
    #[error("{0}")]
    Failed(String),
    /// The archiver says why it cannot.
    #[error("`{machine}`: {text}")]
    Refused {
        /// Whose.
        machine: String,
        /// What it says.
        text: String,
    },
    /// The machine ended.
    #[error("`{0}` ended before its files were copied")]
    Ended(String),
    /// This host.
    #[error("cannot reach the machine's archiver: {0}")]
    Host(#[from] io::Error),
}

/// Most bytes that are heard of what an archiver complains about.
const MOST_WORDS: u64 = 4096;

/// An archiver at work.
#[derive(Debug)]
pub struct Archiver {
    machine: String,
    line: Line,
    words: JoinHandle<String>,
}

impl Archiver {
    /// Has `order` carried out in `machine`, with these as its streams.
    pub fn begin(
        machine: &mut Machine,
        order: &Order,
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
    ) -> Result<Self, Error> {
        let name = machine.record.name.clone();
        if !machine.kept {
            return Err(Error::Rests(name));
        }
        let (said, complaint) = io::pipe()?;
        let exec = Exec {
            argv: order.words(),
            workdir: "/".to_owned(),
            stdin: stdin.is_some(),
            own: true,
            ..Exec::default()
        };
        let nothing = || io::pipe().map(|(end, _)| OwnedFd::from(end));
        let stdin = stdin.map_or_else(nothing, Ok)?;
        let files = [stdin.as_fd(), stdout.as_fd(), complaint.as_fd()];
        let line = machine.exec(exec, &files)?;
        let listens = thread::Builder::new().name("words".to_owned());
        let words = listens.spawn(move || hear(said))?;
        Ok(Self {
            machine: name,
            line,
            words,
        })
    }

    /// Waits until it has done all of it.
    pub fn end(self) -> Result<(), Error> {
        self.end_with_words().map(drop)
    }

    /// The same; what it says beside.
    pub fn end_with_words(self) -> Result<String, Error> {
        let Self {
            machine,
            line,
            words,
        } = self;
        loop {
            match line.wait(None)? {
                Answer::Reply(Reply::Exited { status: 0 }) => {
                    return Ok(words.join().unwrap_or_default());
                }
                Answer::Reply(Reply::Exited { status }) => {
                    let text = words.join().unwrap_or_default();
                    return Err(match (text.is_empty(), status) {
                        (false, _) => Error::Refused { machine, text },
                        (true, 137) => Error::Ended(machine),
                        (true, _) => Error::Refused {
                            machine,
                            text: format!("its archiver ended with status {status}"),
                        },
                    });
                }
                Answer::Reply(Reply::Failed { text, .. }) => return Err(Error::Failed(text)),
                Answer::Gone => return Err(Error::Ended(machine)),
                Answer::Reply(_) | Answer::Late => {}
            }
        }
    }
}

/// Everything that comes, of which `most` bytes are kept: whoever says more must not be stopped by it.
pub fn read_bounded(mut from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    (&mut from).take(most).read_to_end(&mut kept)?;
    io::copy(&mut from, &mut io::sink())?;
    Ok(kept)
}

/// What an archiver says, as one line without control characters: it may be anybody by now.
fn hear(said: PipeReader) -> String {
    // What is lost of it is lost.
    let bytes = read_bounded(said, MOST_WORDS).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).collect()
}
