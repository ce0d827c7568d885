//! Frames of the control channel.
//!
//! ```text
//!  0        4      5        6                       6 + length
//!  ├────────┼──────┼────────┼───────────────────────┤
//!  │ length │ kind │ version│ payload               │
//!  └────────┴──────┴────────┴───────────────────────┘
//! ```
//!
//! `length` counts the payload only. A frame of another version is refused before its payload is
//! looked at.

use std::io::{self, Read, Write};

use crate::exit::{Exit, Failure};
use crate::job::{Job, Process, Size};
use crate::wire::{Reader, WireError, Writer};

/// Version of the frames and everything in them.
pub const VERSION: u8 = 6;

/// The host's vsock address (virtio spec 5.10.4: well-known CID 2).
pub const HOST_CID: u32 = 2;

/// The guest's vsock address.
pub const GUEST_CID: u32 = 3;

/// The host's port that takes every connection.
pub const PORT: u32 = 1024;

/// Longest payload, bytes: a job with the largest argument list that Linux accepts, and room.
pub const MAX_PAYLOAD: u32 = 8 << 20;

/// Sessions that a guest runs at once, its workload among them.
pub const MAX_SESSIONS: usize = 64;

const HEADER_LEN: usize = 6;

/// One of the streams of a session: the three standard ones, or the terminal in their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Host to guest.
    Stdin = 0,
    /// Guest to host.
    Stdout = 1,
    /// Guest to host.
    Stderr = 2,
    /// Both ways: the master of the session's pseudo-terminal.
    Terminal = 3,
}

/// A message on the control channel. Session 0 is the image's own workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Guest: init is up. First frame of the control channel.
    Hello,
    /// Guest: this connection is a stream of a session; raw bytes follow. First frame of a stream.
    Attach {
        /// The session whose stream this is.
        session: u32,
        /// Which stream.
        stream: Stream,
    },
    /// Host: run this.
    Job(Box<Job>),
    /// Host: send a signal to the session's process.
    Signal {
        /// The session.
        session: u32,
        /// Signal number of Linux x86_64.
        number: u8,
    },
    /// Host: run this too, beside the workload.
    Exec {
        /// A number that no session had before.
        session: u32,
        /// What runs.
        process: Box<Process>,
    },
    /// Host: the session's terminal has another size now.
    Resize {
        /// The session.
        session: u32,
        /// The new size.
        size: Size,
    },
    /// Host: the workload, and all that run beside it, may be that many processes and threads from now on.
    Bound {
        /// How many; `None` for as many as there is room for.
        most: Option<u32>,
    },
    /// Host: the machine has this device now.
    Announce {
        /// Where it is, in the kernel's words for the command line (`virtio_mmio.device`).
        device: Vec<u8>,
    },
    /// Guest: the session's process executes its command.
    Started {
        /// The session.
        session: u32,
    },
    /// Guest: the session's process never began.
    Failed {
        /// The session.
        session: u32,
        /// Where and why.
        failure: Failure,
    },
    /// Guest: the session's process has ended.
    Exited {
        /// The session.
        session: u32,
        /// How.
        exit: Exit,
    },
    /// Guest: nothing runs any more, streams are drained, file systems are synced.
    Finished,
}

const HELLO: u8 = 1;
const ATTACH: u8 = 2;
const JOB: u8 = 3;
const SIGNAL: u8 = 4;
const STARTED: u8 = 5;
const FAILED: u8 = 6;
const EXITED: u8 = 7;
const FINISHED: u8 = 8;
const EXEC: u8 = 9;
const RESIZE: u8 = 10;
const BOUND: u8 = 11;
const ANNOUNCE: u8 = 12;

impl Frame {
    /// The frame as it crosses the wire, header and payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        let kind = self.write(&mut out);
        let payload = out.into_bytes();
        let length = u32::try_from(payload.len()).expect("a payload is far shorter than 4 GiB");
        let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[kind, VERSION]);
        bytes.extend_from_slice(&payload);
        bytes
    }

    /// Writes the frame at once.
    pub fn send(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.encode())
    }

    /// Reads one frame; `None` when the peer closed the channel between two frames. A peer that
    /// breaks the format is an error of kind `InvalidData`.
    pub fn receive(from: &mut impl Read) -> io::Result<Option<Self>> {
        Self::receive_within(from, MAX_PAYLOAD)
    }

    /// Reads one frame of a peer that has no reason to send more than `most` bytes of payload.
    pub fn receive_within(from: &mut impl Read, most: u32) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER_LEN];
        if !fill(from, &mut header)? {
            return Ok(None);
        }
        let [l0, l1, l2, l3, kind, version] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if version != VERSION {
            return Err(invalid(WireError::UnknownTag(version)));
        }
        if length > most {
            return Err(invalid(WireError::TooLong(length)));
        }
        // Grown as bytes arrive: a length alone never reserves memory.
        let mut payload = Vec::new();
        let received = from.take(u64::from(length)).read_to_end(&mut payload)?;
        if u32::try_from(received) != Ok(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Self::decode(kind, &payload).map(Some).map_err(invalid)
    }

    fn write(&self, out: &mut Writer) -> u8 {
        match self {
            Self::Hello => return HELLO,
            Self::Finished => return FINISHED,
            Self::Job(job) => {
                job.write(out);
                return JOB;
            }
            Self::Bound { most } => {
                // None at all is no number that anybody could mean.
                out.u32(most.unwrap_or(0));
                return BOUND;
            }
            Self::Announce { device } => {
                out.bytes(device);
                return ANNOUNCE;
            }
            Self::Attach { session, .. }
            | Self::Signal { session, .. }
            | Self::Exec { session, .. }
            | Self::Resize { session, .. }
            | Self::Started { session }
            | Self::Failed { session, .. }
            | Self::Exited { session, .. } => out.u32(*session),
        }
        match self {
            Self::Attach { stream, .. } => {
                out.u8(*stream as u8);
                ATTACH
            }
            Self::Signal { number, .. } => {
                out.u8(*number);
                SIGNAL
            }
            Self::Exec { process, .. } => {
                process.write(out);
                EXEC
            }
            Self::Resize { size, .. } => {
                size.write(out);
                RESIZE
            }
            Self::Failed { failure, .. } => {
                failure.write(out);
                FAILED
            }
            Self::Exited { exit, .. } => {
                exit.write(out);
                EXITED
            }
            _ => STARTED,
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, WireError> {
        let mut from = Reader::new(payload);
        let frame = match kind {
            HELLO => Self::Hello,
            ATTACH => Self::Attach {
                session: from.u32()?,
                stream: read_stream(&mut from)?,
            },
            JOB => Self::Job(Box::new(Job::read(&mut from)?)),
            SIGNAL => Self::Signal {
                session: from.u32()?,
                number: from.u8()?,
            },
            EXEC => Self::Exec {
                session: from.u32()?,
                process: Box::new(Process::read(&mut from)?),
            },
            RESIZE => Self::Resize {
                session: from.u32()?,
                size: Size::read(&mut from)?,
            },
            BOUND => Self::Bound {
                most: Some(from.u32()?).filter(|most| *most > 0),
            },
            ANNOUNCE => Self::Announce {
                device: from.bytes()?,
            },
            STARTED => Self::Started {
                session: from.u32()?,
            },
            FAILED => Self::Failed {
                session: from.u32()?,
                failure: Failure::read(&mut from)?,
            },
            EXITED => Self::Exited {
                session: from.u32()?,
                exit: Exit::read(&mut from)?,
            },
            FINISHED => Self::Finished,
            unknown => return Err(WireError::UnknownTag(unknown)),
        };
        from.finish()?;
        Ok(frame)
    }
}

fn read_stream(from: &mut Reader<'_>) -> Result<Stream, WireError> {
    match from.u8()? {
        0 => Ok(Stream::Stdin),
        1 => Ok(Stream::Stdout),
        2 => Ok(Stream::Stderr),
        3 => Ok(Stream::Terminal),
        tag => Err(WireError::UnknownTag(tag)),
    }
}

/// Fills `buffer`; false when the peer closed before the first byte.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn invalid(error: WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Stage;
    use crate::job::{Addresses, GuestFile, Interface, Limit, Process, Tmpfs};

    fn sample_job() -> Job {
        Job {
            realtime_ns: 1_700_000_000_000_000_000,
            seed: [7; 32],
            hostname: b"box".to_vec(),
            files: vec![GuestFile {
                path: b"/etc/hosts".to_vec(),
                mode: 0o644,
                content: b"127.0.0.1 localhost\n".to_vec(),
            }],
            read_only: true,
            tmpfs: vec![Tmpfs {
                path: b"/tmp".to_vec(),
                options: b"size=1m".to_vec(),
            }],
            volumes: vec![b"/data".to_vec()],
            shares: vec![crate::job::Share {
                path: b"/srv".to_vec(),
                read_only: true,
            }],
            network: Some(Interface {
                required: true,
                mac: [1, 2, 3, 4, 5, 6],
                mtu: 1500,
                v4: Some(Addresses {
                    own: vec![10, 0, 0, 2],
                    gateway: vec![10, 0, 0, 1],
                    prefix: 30,
                }),
                v6: Some(Addresses {
                    own: vec![2; 16],
                    gateway: vec![1; 16],
                    prefix: 64,
                }),
                others: vec![Addresses {
                    own: vec![10, 5, 0, 2],
                    gateway: Vec::new(),
                    prefix: 24,
                }],
            }),
            probe: true,
            most_tasks: Some(100),
            process: Process {
                argv: vec![b"sh".to_vec(), b"\xff\xfe".to_vec()],
                env: vec![b"A=b".to_vec()],
                cwd: b"/".to_vec(),
                user: b"nobody:1".to_vec(),
                limits: vec![Limit {
                    resource: 7,
                    soft: 1024,
                    hard: u64::MAX,
                }],
                stdin: true,
                terminal: Some(Size {
                    rows: 24,
                    columns: 300,
                }),
                own: true,
            },
        }
    }

    fn every_frame() -> Vec<Frame> {
        let failure = Failure {
            stage: Stage::Exec,
            errno: 2,
            detail: b"nope".to_vec(),
        };
        vec![
            Frame::Hello,
            Frame::Attach {
                session: 3,
                stream: Stream::Stderr,
            },
            Frame::Attach {
                session: u32::MAX,
                stream: Stream::Terminal,
            },
            Frame::Job(Box::new(sample_job())),
            Frame::Exec {
                session: 7,
                process: Box::new(sample_job().process),
            },
            Frame::Resize {
                session: 7,
                size: Size {
                    rows: 1,
                    columns: u16::MAX,
                },
            },
            Frame::Signal {
                session: 0,
                number: 15,
            },
            Frame::Started { session: 0 },
            Frame::Failed {
                session: 0,
                failure,
            },
            Frame::Exited {
                session: 0,
                exit: Exit::Signal(9),
            },
            Frame::Finished,
        ]
    }

    #[test]
    fn frames_survive_the_wire() {
        let mut wire = Vec::new();
        for frame in every_frame() {
            frame.send(&mut wire).unwrap();
        }
        let mut from = wire.as_slice();
        for frame in every_frame() {
            assert_eq!(Frame::receive(&mut from).unwrap(), Some(frame));
        }
        assert_eq!(Frame::receive(&mut from).unwrap(), None);
    }

    #[test]
    fn every_truncation_is_an_error_and_none_is_a_panic() {
        for frame in every_frame() {
            let wire = frame.encode();
            for len in 1..wire.len() {
                assert!(
                    Frame::receive(&mut &wire[..len]).is_err(),
                    "{frame:?} cut at {len}"
                );
            }
        }
    }

    #[test]
    fn a_huge_length_is_refused_before_memory_is_taken() {
        let wire = [0xff, 0xff, 0xff, 0xff, HELLO, VERSION];
        assert!(Frame::receive(&mut wire.as_slice()).is_err());
    }

    proptest::proptest! {
        /// Whatever a peer sends is a frame or an error; and a frame has one way to be written.
        #[test]
        fn no_bytes_are_a_panic_and_what_is_read_is_written_the_same(
            kind in 0u8..13,
            payload in proptest::collection::vec(0u8..14, 0..60),
        ) {
            let length = u32::try_from(payload.len()).unwrap();
            let mut wire = length.to_le_bytes().to_vec();
            wire.extend([kind, VERSION]);
            wire.extend(payload);
            if let Ok(Some(frame)) = Frame::receive(&mut wire.as_slice()) {
                proptest::prop_assert_eq!(frame.encode(), wire);
            }
        }

        #[test]
        fn sessions_and_sizes_survive_the_wire(session: u32, rows: u16, columns: u16, number: u8, typed: bool) {
            let size = Size { rows, columns };
            let process = Process {
                stdin: typed,
                terminal: Some(size),
                own: true,
                ..Process::default()
            };
            let frames = [
                Frame::Resize { session, size },
                Frame::Bound { most: None },
                Frame::Announce {
                    device: number.to_string().into_bytes(),
                },
                Frame::Signal { session, number },
                Frame::Exec {
                    session,
                    process: Box::new(process),
                },
            ];
            for frame in frames {
                let read = Frame::receive(&mut frame.encode().as_slice()).unwrap();
                proptest::prop_assert_eq!(read, Some(frame));
            }
        }
    }

    #[test]
    fn another_version_is_refused() {
        let mut wire = Frame::Hello.encode();
        wire[5] = VERSION + 1;
        assert!(Frame::receive(&mut wire.as_slice()).is_err());
    }
}
