//! One stream of the workload: bytes move between a pipe and a connection inside the kernel.
//!
//! ```text
//!              source ready: splice             splice: EAGAIN
//! wait for ◀──────────────────────── wait for ◀────────────────
//!   source ────────────────────────▶   sink     (source had bytes: the sink is full)
//!              splice: EAGAIN
//! ```
//! A reader that is gone closes the pipe, so that the workload's next write is a SIGPIPE; a writer
//! that is gone ends the connection.

use std::os::fd::OwnedFd;

use husk_init::sys::wait::{IDLE, entry};
use husk_init::sys::{Errno, file};

/// Bytes moved at most per turn: what a pipe holds.
const TURN: usize = 1 << 16;

/// What the relay waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Sink,
}

/// A one-way relay; one of its ends is a pipe. Dropping it closes both.
#[derive(Debug)]
pub struct Relay {
    source: OwnedFd,
    sink: OwnedFd,
    waits_for: Side,
}

/// Whether a relay goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    /// It has more to carry.
    Open,
    /// Its source is at its end, or its sink takes no more.
    Ended,
}

impl Relay {
    /// From `source` to `sink`.
    pub fn new(source: OwnedFd, sink: OwnedFd) -> Self {
        Self {
            source,
            sink,
            waits_for: Side::Source,
        }
    }

    /// What to poll for: source and sink.
    pub fn entries(&self) -> [libc::pollfd; 2] {
        match self.waits_for {
            // No events of interest: poll still tells when the sink breaks.
            Side::Source => [entry(&self.source, libc::POLLIN), entry(&self.sink, 0)],
            // A source that hung up would wake poll for nothing, again and again.
            Side::Sink => [IDLE, entry(&self.sink, libc::POLLOUT)],
        }
    }

    /// One turn, after poll.
    pub fn turn(&mut self, ready: [i16; 2]) -> Flow {
        let [source, sink] = ready;
        let awaited = match self.waits_for {
            Side::Source => source,
            Side::Sink => sink,
        };
        if awaited != 0 {
            return self.carry();
        }
        if sink & (libc::POLLERR | libc::POLLHUP) != 0 {
            return Flow::Ended;
        }
        Flow::Open
    }

    fn carry(&mut self) -> Flow {
        match file::splice(&self.source, &self.sink, TURN) {
            Ok(0) => return Flow::Ended,
            Ok(_) => self.waits_for = Side::Source,
            Err(Errno(libc::EAGAIN)) => {
                self.waits_for = match self.waits_for {
                    Side::Source => Side::Sink,
                    Side::Sink => Side::Source,
                }
            }
            Err(Errno(libc::EINTR)) => {}
            Err(_) => return Flow::Ended,
        }
        Flow::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use husk_init::sys::wait::poll;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn run(relay: &mut Relay) -> Flow {
        let mut entries = relay.entries();
        poll(&mut entries, 1000).unwrap();
        relay.turn([entries[0].revents, entries[1].revents])
    }

    #[test]
    fn bytes_pass_and_the_end_passes() {
        let (reader, writer) = file::pipe().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut relay = Relay::new(reader, near.into());
        file::write(&writer, b"hello").unwrap();
        assert_eq!(run(&mut relay), Flow::Open);
        drop(writer);
        assert_eq!(run(&mut relay), Flow::Ended);
        drop(relay);
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"hello");
    }

    #[test]
    fn a_full_sink_waits_and_loses_nothing() {
        let (reader, writer) = file::pipe().unwrap();
        let (mut far, near) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut relay = Relay::new(near.into(), writer);
        let sender = std::thread::spawn(move || far.write_all(&[7; 1 << 20]));
        while relay.waits_for == Side::Source {
            assert_eq!(run(&mut relay), Flow::Open);
        }
        let mut count = 0;
        let mut buffer = [0; 1 << 16];
        let mut flow = Flow::Open;
        while flow == Flow::Open {
            count += file::read(&reader, &mut buffer).unwrap();
            flow = run(&mut relay);
        }
        drop(relay);
        while let Ok(more @ 1..) = file::read(&reader, &mut buffer) {
            count += more;
        }
        sender.join().unwrap().unwrap();
        assert_eq!(count, 1 << 20);
    }

    #[test]
    fn a_sink_that_breaks_ends_it_without_a_byte() {
        let (reader, _writer) = file::pipe().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let mut relay = Relay::new(reader, near.into());
        drop(far);
        assert_eq!(run(&mut relay), Flow::Ended);
    }
}
