//! A connection: an endpoint towards the guest, a socket towards the far end, and bytes between them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, socket_error};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::endpoint::{Due, Endpoint, Limits, MOST_BUFFERED, Taken};
use crate::net::wire::Tcp;

/// What a connection has for the guest now.
#[derive(Debug)]
pub enum Step {
    /// A segment; its data is that of [`TcpFlow::outgoing`].
    Segment(Due),
    /// Nothing.
    Nothing,
    /// It is over: nothing more, ever.
    Over,
    /// It ends with this segment.
    Reset(Tcp<'static>),
    /// The far end cannot be connected to.
    Refused(io::Error),
}

/// One connection.
#[derive(Debug)]
pub struct TcpFlow {
    endpoint: Endpoint,
    socket: OwnedFd,
    /// The number of the guest's SYN.
    first: u32,
    is_connected: bool,
    /// What counts it among those that the guest has not answered.
    call: Option<Arc<()>>,
    readable: bool,
    writable: bool,
    /// The guest's, for the host.
    inward: VecDeque<u8>,
    host_ended: bool,
    /// Whether the host knows that the guest says no more.
    shut: bool,
    /// Why there is an end now.
    broken: Option<io::Error>,
    /// Bytes that the socket took, and gave, since somebody counted.
    moved: (usize, usize),
    /// Bytes that the socket may take, and give, now.
    share: (usize, usize),
    /// Whether more would have gone, either way.
    short: [bool; 2],
}

impl TcpFlow {
    /// The connection that the guest asks for with `syn`, over a socket that connects.
    pub fn asked_for(syn: &Tcp<'_>, socket: OwnedFd, seq: u32, limits: Limits) -> Self {
        Self::new(Endpoint::held(syn, seq, limits), socket, syn.seq, false)
    }

    /// A connection to the guest, for a socket that is connected. `call` is let go when the guest has answered.
    pub fn calling(socket: OwnedFd, call: Arc<()>, seq: u32, limits: Limits) -> Self {
        let endpoint = Endpoint::calling(seq, limits);
        Self {
            call: Some(call),
            ..Self::new(endpoint, socket, 0, true)
        }
    }

    fn new(endpoint: Endpoint, socket: OwnedFd, first: u32, is_connected: bool) -> Self {
        Self {
            endpoint,
            socket,
            first,
            is_connected,
            call: None,
            readable: false,
            writable: false,
            inward: VecDeque::new(),
            host_ended: false,
            shut: false,
            broken: None,
            moved: (0, 0),
            share: (0, 0),
            short: [false; 2],
        }
    }

    /// Lets the host take and give so much from now on.
    pub fn allow(&mut self, sent: usize, received: usize) {
        self.share = (sent, received);
        self.short = [false; 2];
    }

    /// Whether more would have gone than was allowed: to the host, and from there.
    pub fn short(&self) -> [bool; 2] {
        self.short
    }

    /// Ends it, whatever is under way.
    pub fn end(&mut self) {
        self.broken = Some(io::ErrorKind::PermissionDenied.into());
    }

    /// Bytes that the host took, and gave, since this was asked last.
    pub fn moved(&mut self) -> (usize, usize) {
        std::mem::take(&mut self.moved)
    }

    /// The socket, to be watched.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The number of the SYN by which the guest began.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// When [`TcpFlow::expire`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.endpoint.deadline()
    }

    /// The data of a segment.
    pub fn outgoing(&self, due: &Due) -> (&[u8], &[u8]) {
        self.endpoint.outgoing(due.from, due.len)
    }

    /// The socket has become readable, or writable, or both.
    pub fn wake(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
        if writable && !self.is_connected {
            match socket_error(&self.socket).map_err(io::Error::from) {
                Ok(Ok(())) => {
                    self.is_connected = true;
                    self.endpoint.answer();
                }
                Ok(Err(errno)) => self.broken = Some(errno.into()),
                Err(error) => self.broken = Some(error),
            }
        }
    }

    /// A segment of the guest's; false when it ends the connection at once.
    pub fn take(&mut self, segment: &Tcp<'_>, now: Instant) -> bool {
        let new = match self.endpoint.take(segment, now) {
            Taken::Data(new) => new,
            Taken::Reset => {
                // The far end hears it as it was said.
                let _as_well = set_socket_linger(&self.socket, Some(std::time::Duration::ZERO));
                return false;
            }
        };
        if self.endpoint.is_open() {
            self.call = None;
        }
        let sent = match self.inward.is_empty() {
            true => self.send(new),
            false => 0,
        };
        self.inward.extend(&new[sent..]);
        true
    }

    /// Gives the host what it takes of `bytes` now.
    fn send(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        let bytes = &bytes[..bytes.len().min(self.share.0)];
        while self.writable && self.is_connected && sent < bytes.len() {
            match send(&self.socket, &bytes[sent..], SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => self.writable = false,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    self.broken = Some(errno.into());
                    break;
                }
            }
        }
        self.endpoint.handed_over(sent);
        self.moved.0 += sent;
        self.share.0 -= sent;
        sent
    }

    /// The deadline has passed.
    pub fn expire(&mut self, now: Instant) {
        if !self.endpoint.expire(now) {
            self.broken = Some(io::ErrorKind::TimedOut.into());
        }
    }

    /// Moves bytes both ways, and says what is due. `inward` bounds what waits for the host.
    pub fn step(&mut self, scratch: &mut [u8], inward: usize, now: Instant) -> Step {
        self.endpoint.set_inward_limit(inward);
        if self.broken.is_none() && self.is_connected {
            self.feed();
            self.draw(scratch, inward);
        }
        if let Some(error) = self.broken.take() {
            return match self.is_connected {
                true => Step::Reset(self.endpoint.reset()),
                false => Step::Refused(error),
            };
        }
        match self.endpoint.next(now) {
            Some(due) => Step::Segment(due),
            None if self.endpoint.is_over() => Step::Over,
            None => Step::Nothing,
        }
    }

    /// A reset for the guest.
    pub fn reset(&self) -> Tcp<'static> {
        self.endpoint.reset()
    }

    /// What waits for the host goes to it, and then the guest's end.
    fn feed(&mut self) {
        while self.writable && !self.inward.is_empty() && self.broken.is_none() {
            if self.share.0 == 0 {
                self.short[0] = true;
                break;
            }
            let waiting = std::mem::take(&mut self.inward);
            let sent = self.send(waiting.as_slices().0);
            self.inward = waiting;
            self.inward.drain(..sent);
        }
        if self.inward.is_empty() && self.inward.capacity() > 0 {
            self.inward = VecDeque::new();
        }
        if self.endpoint.guest_has_ended() && self.inward.is_empty() && !self.shut {
            self.shut = true;
            // Fails when the far end is gone, which reading says too.
            let _gone = shutdown(&self.socket, Shutdown::Write);
        }
    }

    /// What the host has goes to the endpoint, as far as it has room.
    fn draw(&mut self, scratch: &mut [u8], most: usize) {
        let most = most.min(MOST_BUFFERED);
        while self.readable && self.endpoint.is_open() && !self.host_ended {
            let room = most.saturating_sub(self.endpoint.waiting());
            let room = room.min(scratch.len());
            if room == 0 {
                return;
            }
            let room = room.min(self.share.1);
            if room == 0 {
                self.short[1] = true;
                return;
            }
            match recv(&self.socket, &mut scratch[..room], RecvFlags::empty()) {
                Ok((_, 0)) => {
                    self.host_ended = true;
                    self.endpoint.end();
                }
                Ok((_, count)) => {
                    self.moved.1 += count;
                    self.share.1 -= count;
                    self.endpoint.send(&scratch[..count]);
                }
                Err(Errno::AGAIN) => self.readable = false,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    self.broken = Some(errno.into());
                    return;
                }
            }
        }
    }
}
