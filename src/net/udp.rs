//! A conversation of datagrams: a port of the guest's and one of the far end's, over a connected socket.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// How long nobody may say anything before it is over (RFC 4787, 4.3, asks for two minutes).
pub const SILENCE: Duration = Duration::from_secs(120);

/// What a conversation has for the guest.
#[derive(Debug)]
pub enum Heard<'b> {
    /// A datagram.
    Datagram(&'b [u8]),
    /// Nothing.
    Nothing,
    /// The far end is not there.
    Refused(io::Error),
}

/// One conversation.
#[derive(Debug)]
pub struct UdpFlow {
    socket: OwnedFd,
    readable: bool,
    broken: Option<io::Error>,
}

impl UdpFlow {
    /// Over a connected socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            readable: false,
            broken: None,
        }
    }

    /// The socket, to be watched.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// There is something to read.
    pub fn wake(&mut self, readable: bool) {
        self.readable |= readable;
    }

    /// Sends a datagram of the guest's; one for which the host has no room is lost, as datagrams are.
    pub fn take(&mut self, payload: &[u8]) {
        if let Err(errno) = send(&self.socket, payload, SendFlags::NOSIGNAL) {
            self.note(errno);
        }
    }

    /// The next datagram for the guest, in `scratch`.
    pub fn next<'b>(&mut self, scratch: &'b mut [u8]) -> Heard<'b> {
        if let Some(error) = self.broken.take() {
            return Heard::Refused(error);
        }
        if !self.readable {
            return Heard::Nothing;
        }
        match recv(&self.socket, &mut *scratch, RecvFlags::empty()) {
            Ok((_, len)) => Heard::Datagram(&scratch[..len.min(scratch.len())]),
            Err(Errno::AGAIN) => {
                self.readable = false;
                Heard::Nothing
            }
            Err(errno) => {
                self.note(errno);
                self.broken.take().map_or(Heard::Nothing, Heard::Refused)
            }
        }
    }

    fn note(&mut self, errno: Errno) {
        if !matches!(
            errno,
            Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::MSGSIZE
        ) {
            self.broken = Some(errno.into());
        }
    }
}
