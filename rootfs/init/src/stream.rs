//! The streams of a session, from the host's connections to the process's descriptors: three pipes
//! with a relay each, or one terminal.

use std::os::fd::OwnedFd;

use husk_init::exit::{Failure, Stage};
use husk_init::failure::At;
use husk_init::frame::{Frame, Stream};
use husk_init::job::{Process, Size};

use crate::relay::{Flow, Relay};
use crate::terminal::Terminal;
use crate::vsock;
use husk_init::sys::{Result, file};

/// Streams, ready for a process.
#[derive(Debug)]
pub struct Wires {
    /// The process's descriptors 0, 1 and 2.
    pub process: [OwnedFd; 3],
    /// What carries them.
    pub streams: Streams,
}

/// What carries a session's streams.
#[derive(Debug)]
pub enum Streams {
    /// stdin, stdout, stderr, each as long as it is open.
    Pipes([Option<Relay>; 3]),
    /// The terminal, as long as somebody has it open.
    Terminal(Option<Terminal>),
}

/// Connects the streams of `session`, as its process wants them.
pub fn connect(session: u32, wanted: &Process) -> std::result::Result<Wires, Failure> {
    match wanted.terminal {
        None => connect_pipes(session, wanted.stdin).at(Stage::Stream, b""),
        Some(size) => connect_terminal(session, size),
    }
}

/// All connections begin before the first is waited for.
fn connect_pipes(session: u32, with_stdin: bool) -> Result<Wires> {
    let begun = (vsock::begin()?, vsock::begin()?);
    let (stdin, process_stdin) = if with_stdin {
        let connection = vsock::begin()?;
        let (reader, writer) = file::pipe()?;
        introduce(&connection, session, Stream::Stdin)?;
        (Some(Relay::new(connection, writer)), reader)
    } else {
        (None, file::open(c"/dev/null", libc::O_RDONLY, 0)?)
    };
    let (stdout, process_stdout) = output(begun.0, session, Stream::Stdout)?;
    let (stderr, process_stderr) = output(begun.1, session, Stream::Stderr)?;
    Ok(Wires {
        process: [process_stdin, process_stdout, process_stderr],
        streams: Streams::Pipes([stdin, Some(stdout), Some(stderr)]),
    })
}

fn output(connection: OwnedFd, session: u32, stream: Stream) -> Result<(Relay, OwnedFd)> {
    let (reader, writer) = file::pipe()?;
    introduce(&connection, session, stream)?;
    Ok((Relay::new(reader, connection), writer))
}

fn connect_terminal(session: u32, size: Size) -> std::result::Result<Wires, Failure> {
    let connection = vsock::begin().at(Stage::Stream, b"")?;
    introduce(&connection, session, Stream::Terminal).at(Stage::Stream, b"")?;
    let terminal = Terminal::open(connection, size).at(Stage::Terminal, b"/dev/ptmx")?;
    Ok(Wires {
        process: terminal.ends().at(Stage::Terminal, b"")?,
        streams: Streams::Terminal(Some(terminal)),
    })
}

fn introduce(connection: &OwnedFd, session: u32, stream: Stream) -> Result<()> {
    vsock::introduce(connection, &Frame::Attach { session, stream })
}

impl Streams {
    /// Adds what to poll for.
    pub fn entries(&self, entries: &mut Vec<libc::pollfd>) {
        match self {
            Self::Pipes(relays) => {
                for relay in relays.iter().flatten() {
                    entries.extend(relay.entries());
                }
            }
            Self::Terminal(terminal) => {
                entries.extend(terminal.iter().flat_map(Terminal::entries));
            }
        }
    }

    /// Carries on, after poll: takes from `ready` as many pairs as it added.
    pub fn turn<'a>(&mut self, ready: &mut impl Iterator<Item = &'a [libc::pollfd]>) {
        match self {
            Self::Pipes(relays) => {
                for relay in relays {
                    turn(relay, ready, Relay::turn);
                }
            }
            Self::Terminal(terminal) => turn(terminal, ready, Terminal::turn),
        }
    }

    /// Whether no output can come any more.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Pipes([_, stdout, stderr]) => stdout.is_none() && stderr.is_none(),
            Self::Terminal(terminal) => terminal.is_none(),
        }
    }

    /// The process is dead: nobody needs its input.
    pub fn let_go(&mut self) {
        match self {
            Self::Pipes([stdin, ..]) => *stdin = None,
            Self::Terminal(terminal) => {
                terminal.iter_mut().for_each(Terminal::let_go);
            }
        }
    }
}

fn turn<'a, T>(
    open: &mut Option<T>,
    ready: &mut impl Iterator<Item = &'a [libc::pollfd]>,
    carry: impl Fn(&mut T, [i16; 2]) -> Flow,
) {
    if let Some(carrier) = open
        && let Some([first, second]) = ready.next()
        && carry(carrier, [first.revents, second.revents]) == Flow::Ended
    {
        *open = None;
    }
}
