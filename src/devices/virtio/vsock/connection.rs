//! One stream between the guest and a Unix socket.
//!
//! ```text
//!  guest ──RW──▶ pending (at most BUFFER) ──▶ Unix socket        our credit: buf_alloc, fwd_cnt
//!  guest ◀──RW── at most the guest's credit ◀── Unix socket       its credit: peer_*
//!
//!  SHUTDOWN(send) of the guest   the socket's writing side closes behind the last pending byte
//!  end of file of the socket     SHUTDOWN(send) to the guest
//!  the socket takes no more      SHUTDOWN(receive) to the guest: its writer gets EPIPE
//!  both directions closed        RST, and the connection is gone
//! ```

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::packet::{Header, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};
use crate::kvm::transfer::Scatter;

/// Bytes of the guest's that may wait here: what we announce as our buffer.
pub const BUFFER: u32 = 256 << 10;

/// What the guest is to be told, apart from data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The connection stands.
    Response,
    /// How much we consumed.
    Credit,
    /// Which directions are closed, as SHUTDOWN flags.
    Shutdown(u32),
}

/// The guest sent more than we announced room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditViolation;

/// A connected stream.
#[derive(Debug)]
pub struct Connection {
    /// The host's end.
    pub socket: UnixStream,
    /// What the socket is watched for, as epoll flags.
    pub watched: u32,
    /// Whether the socket may have something to read.
    is_readable: bool,
    /// Whether its end is to be read, behind whatever there is.
    is_ending: bool,
    pending: VecDeque<u8>,
    consumed: u32,
    announced: u32,
    peer_buf_alloc: u32,
    peer_fwd_cnt: u32,
    sent: u32,
    notices: VecDeque<Notice>,
    guest_closed: u32,
    host_closed: u32,
}

impl Connection {
    /// A stream that the guest asked for by `request`.
    pub fn new(socket: UnixStream, request: &Header) -> Self {
        Self {
            socket,
            watched: 0,
            is_readable: false,
            is_ending: false,
            pending: VecDeque::new(),
            consumed: 0,
            announced: 0,
            peer_buf_alloc: request.buf_alloc,
            peer_fwd_cnt: request.fwd_cnt,
            sent: 0,
            notices: VecDeque::from([Notice::Response]),
            guest_closed: 0,
            host_closed: 0,
        }
    }

    /// Takes the credit that every packet of the guest carries.
    pub fn take_credit(&mut self, header: &Header) {
        (self.peer_buf_alloc, self.peer_fwd_cnt) = (header.buf_alloc, header.fwd_cnt);
    }

    /// Bytes that the guest has room for.
    pub fn credit(&self) -> u32 {
        let in_flight = self.sent.wrapping_sub(self.peer_fwd_cnt);
        self.peer_buf_alloc.saturating_sub(in_flight)
    }

    /// Whether reading the socket makes sense: the guest has room and still listens.
    fn wants_input(&self) -> bool {
        self.host_closed & SHUTDOWN_SEND == 0
            && self.guest_closed & SHUTDOWN_RECEIVE == 0
            && self.credit() > 0
    }

    /// Whether bytes wait for the socket to take them.
    pub fn wants_output(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The socket has something to read, and `is_ending` its end too. It is said once: it holds until a read finds less than
    /// it asked for, and for an end until that was read.
    pub fn note_arrival(&mut self, is_ending: bool) {
        self.is_readable = true;
        self.is_ending |= is_ending;
    }

    /// Whether there is something to tell the guest, or to read for it.
    pub fn has_news(&self) -> bool {
        !self.notices.is_empty() || self.is_readable && self.wants_input()
    }

    /// Reads what the socket has into `places`, which have room for `asked` bytes of the guest's credit. None when there
    /// is nothing now; an end of file becomes a notice.
    pub fn fetch(&mut self, places: &Scatter, asked: usize) -> Option<usize> {
        match places.read_once(self.socket.as_fd()) {
            Ok(count) if count > 0 => {
                self.is_readable = count == asked || self.is_ending;
                let bytes = u32::try_from(count).unwrap_or(u32::MAX);
                self.sent = self.sent.wrapping_add(bytes);
                Some(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                None
            }
            // End of file, or a socket that broke: either way nothing more comes.
            _ => {
                self.close_for_guest(SHUTDOWN_SEND);
                None
            }
        }
    }

    /// Takes `data` of the guest's and writes what the socket takes now.
    pub fn deliver(&mut self, data: &[u8]) -> Result<(), CreditViolation> {
        let room = usize::try_from(BUFFER).unwrap_or(usize::MAX) - self.pending.len();
        if data.len() > room {
            return Err(CreditViolation);
        }
        if self.host_closed & SHUTDOWN_RECEIVE == 0 {
            // What nothing waits before goes from where it is.
            let passed = match self.pending.is_empty() {
                true => self.pass(data),
                false => 0,
            };
            self.pending.extend(&data[passed..]);
            self.flush();
        }
        Ok(())
    }

    /// Writes what the socket takes now; how many bytes are done with.
    fn pass(&mut self, data: &[u8]) -> usize {
        match self.socket.write(data) {
            Ok(count) => {
                let bytes = u32::try_from(count).unwrap_or(0);
                self.consumed = self.consumed.wrapping_add(bytes);
                count
            }
            Err(error) if retry(&error) => 0,
            Err(_) => {
                self.close_for_guest(SHUTDOWN_RECEIVE);
                data.len()
            }
        }
    }

    /// Writes what waits, as much as the socket takes.
    pub fn flush(&mut self) {
        let mut pending = mem::take(&mut self.pending);
        while !pending.is_empty() {
            match self.pass(pending.as_slices().0) {
                0 => break,
                count => drop(pending.drain(..count)),
            }
        }
        self.pending = pending;
        if self.pending.is_empty() && self.guest_closed & SHUTDOWN_SEND != 0 {
            // Fails only when the other end is gone already.
            let _gone = self.socket.shutdown(Shutdown::Write);
        }
        // Half a buffer consumed is worth a packet.
        if self.consumed.wrapping_sub(self.announced) >= BUFFER / 2 {
            self.note(Notice::Credit);
        }
    }

    /// The host's other end hung up in both directions.
    pub fn hang_up(&mut self) {
        self.close_for_guest(SHUTDOWN_RECEIVE);
    }

    /// The guest closes directions of its own, as SHUTDOWN flags.
    pub fn close_by_guest(&mut self, flags: u32) {
        self.guest_closed |= flags & (SHUTDOWN_RECEIVE | SHUTDOWN_SEND);
        if self.guest_closed & SHUTDOWN_RECEIVE != 0 {
            // Whoever writes at the host's end gets EPIPE, as from a closed pipe.
            let _gone = self.socket.shutdown(Shutdown::Read);
        }
        self.flush();
    }

    fn close_for_guest(&mut self, flags: u32) {
        if self.host_closed | flags != self.host_closed {
            self.host_closed |= flags;
            self.notices
                .retain(|notice| !matches!(notice, Notice::Shutdown(_)));
            self.note(Notice::Shutdown(self.host_closed));
        }
    }

    /// Says something to the guest once.
    pub fn note(&mut self, notice: Notice) {
        if !self.notices.contains(&notice) {
            self.notices.push_back(notice);
        }
    }

    /// The next notice, if any.
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Whether nothing will flow in either direction any more, and the guest knows.
    pub fn is_over(&self) -> bool {
        let to_guest = (self.host_closed & SHUTDOWN_SEND) | (self.guest_closed & SHUTDOWN_RECEIVE);
        let to_host = (self.host_closed & SHUTDOWN_RECEIVE) | (self.guest_closed & SHUTDOWN_SEND);
        to_guest != 0 && to_host != 0 && self.pending.is_empty() && self.notices.is_empty()
    }

    /// Fills in our credit: every packet carries it.
    pub fn stamp(&mut self, header: &mut Header) {
        self.announced = self.consumed;
        (header.buf_alloc, header.fwd_cnt) = (BUFFER, self.consumed);
    }
}

fn retry(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
