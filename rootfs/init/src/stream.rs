//! The three streams: a pipe to the workload, a connection to the host, a relay between them.

use std::os::fd::OwnedFd;

use husk_init::frame::{Frame, Stream};

use crate::relay::Relay;
use crate::vsock;
use husk_init::sys::{Result, file};

/// Streams, ready for a process.
#[derive(Debug)]
pub struct Wires {
    /// The workload's descriptors 0, 1 and 2.
    pub workload: [OwnedFd; 3],
    /// Host to workload, if the host has something to say.
    pub stdin: Option<Relay>,
    /// Workload to host: stdout, stderr.
    pub outputs: [Option<Relay>; 2],
}

/// Connects the streams of `session`. All connections begin before the first is waited for.
pub fn connect(session: u32, with_stdin: bool) -> Result<Wires> {
    let begun = (vsock::begin()?, vsock::begin()?);
    let (stdin, workload_stdin) = if with_stdin {
        let connection = vsock::begin()?;
        let (reader, writer) = file::pipe()?;
        introduce(&connection, session, Stream::Stdin)?;
        (Some(Relay::new(connection, writer)), reader)
    } else {
        (None, file::open(c"/dev/null", libc::O_RDONLY, 0)?)
    };
    let (stdout, workload_stdout) = output(begun.0, session, Stream::Stdout)?;
    let (stderr, workload_stderr) = output(begun.1, session, Stream::Stderr)?;
    Ok(Wires {
        workload: [workload_stdin, workload_stdout, workload_stderr],
        stdin,
        outputs: [Some(stdout), Some(stderr)],
    })
}

fn output(connection: OwnedFd, session: u32, stream: Stream) -> Result<(Relay, OwnedFd)> {
    let (reader, writer) = file::pipe()?;
    introduce(&connection, session, stream)?;
    Ok((Relay::new(reader, connection), writer))
}

fn introduce(connection: &OwnedFd, session: u32, stream: Stream) -> Result<()> {
    vsock::introduce(connection, &Frame::Attach { session, stream })
}
