//! All streams of one machine, and the epoll that watches their sockets.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::epoll;

use super::connection::{Connection, Notice};
use super::packet::{Header, TYPE_STREAM, op};

/// Streams at once: three for each session of init (`husk_init::frame::MAX_SESSIONS`), and to spare.
const MOST: usize = 256;

/// Refusals that wait to be sent; more are dropped, and their senders time out.
const MOST_RESETS: usize = 64;

/// Events taken from the epoll at once.
const BATCH: usize = 32;

/// A stream's ports: the guest's and the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The guest's port.
    pub guest: u32,
    /// The host's port.
    pub host: u32,
}

/// The streams.
#[derive(Debug)]
pub struct Connections {
    streams: BTreeMap<Key, Connection>,
    epoll: OwnedFd,
    resets: VecDeque<Key>,
    cursor: Option<Key>,
    paused: bool,
}

impl Connections {
    /// None yet.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            streams: BTreeMap::new(),
            epoll,
            resets: VecDeque::new(),
            cursor: None,
            paused: false,
        })
    }

    /// Readable when a socket has something.
    pub fn source(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Whether there may be one more stream, of these ports.
    pub fn admit(&self, key: Key) -> io::Result<()> {
        if self.streams.len() >= MOST || self.streams.contains_key(&key) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(())
    }

    /// Adds a stream that was admitted.
    pub fn add(&mut self, key: Key, socket: UnixStream, request: &Header) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        epoll::add(&self.epoll, &socket, data(key), epoll::EventFlags::empty())?;
        self.streams.insert(key, Connection::new(socket, request));
        self.settle(key);
        Ok(())
    }

    /// A stream.
    pub fn get(&mut self, key: Key) -> Option<&mut Connection> {
        self.streams.get_mut(&key)
    }

    /// Tells the guest that there is no such stream.
    pub fn reset(&mut self, key: Key) {
        self.streams.remove(&key);
        if self.resets.len() < MOST_RESETS && !self.resets.contains(&key) {
            self.resets.push_back(key);
        }
    }

    /// Drops a stream without a word: the guest said RST.
    pub fn forget(&mut self, key: Key) {
        self.streams.remove(&key);
    }

    /// Serves the sockets that can take bytes now, or are gone. Those that have bytes are served
    /// by [`Connections::next`].
    pub fn poll(&mut self) -> io::Result<()> {
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: data_of(0),
        }; BATCH];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let count = epoll::wait(&self.epoll, &mut events[..], Some(&now))?;
        for event in &events[..count] {
            let (key, flags) = (key(event.data), event.flags);
            let Some(stream) = self.streams.get_mut(&key) else {
                continue;
            };
            stream.flush();
            // Hung up on both sides, as when `husk run` lost its reader: writing is over.
            if flags.contains(epoll::EventFlags::HUP) {
                stream.hang_up();
            }
            self.settle(key);
        }
        Ok(())
    }

    /// Watches a socket for what its stream can use, and ends a stream that is over.
    pub fn settle(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        if stream.is_over() {
            return self.reset(key);
        }
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, stream.wants_input() && !self.paused);
        flags.set(epoll::EventFlags::OUT, stream.wants_output());
        if flags.is_empty() {
            // A hang-up is reported whether asked for or not: once is enough.
            flags = epoll::EventFlags::ONESHOT;
        }
        // What is watched for already is not asked for again, which would report it again.
        if stream.watched != flags.bits() {
            stream.watched = flags.bits();
            // Fails only for a socket that is not in the epoll, and then nobody watches it.
            let _unwatched = epoll::modify(&self.epoll, &stream.socket, data(key), flags);
        }
    }

    /// The next packet for the guest, its data in `buffer`; streams take turns.
    pub fn next(&mut self, buffer: &mut [u8]) -> Option<Header> {
        if let Some(key) = self.resets.pop_front() {
            return Some(header(key, op::RST));
        }
        for key in self.turns() {
            let stream = self.streams.get_mut(&key)?;
            let packet = next_of(stream, key, buffer);
            self.settle(key);
            if packet.is_some() {
                self.cursor = Some(key);
                return packet;
            }
        }
        self.resets.pop_front().map(|key| header(key, op::RST))
    }

    /// Stops watching for bytes while the driver has no buffers for them, and begins again.
    pub fn pause(&mut self, paused: bool) {
        if self.paused != paused {
            self.paused = paused;
            let keys: Vec<_> = self.streams.keys().copied().collect();
            keys.into_iter().for_each(|key| self.settle(key));
        }
    }

    /// Every stream once, beginning behind the one that was last.
    fn turns(&self) -> Vec<Key> {
        let keys = || self.streams.keys().copied();
        let Some(last) = self.cursor else {
            return keys().collect();
        };
        keys()
            .filter(|key| *key > last)
            .chain(keys().filter(|key| *key <= last))
            .collect()
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.streams.clear();
        self.resets.clear();
        (self.cursor, self.paused) = (None, false);
    }
}

/// A stream's next packet: a notice, or data. An end of file becomes a notice on the way.
fn next_of(stream: &mut Connection, key: Key, buffer: &mut [u8]) -> Option<Header> {
    // The answer to the request comes first; a SHUTDOWN comes behind the last byte of data.
    let notice = stream.next_notice();
    let (op, flags, len) = match notice {
        Some(Notice::Response) => (op::RESPONSE, 0, 0),
        Some(Notice::Credit) => (op::CREDIT_UPDATE, 0, 0),
        Some(Notice::Shutdown(flags)) => (op::SHUTDOWN, flags, 0),
        None => match stream.fetch(buffer) {
            Some(len) => (op::RW, 0, len),
            None => match stream.next_notice()? {
                Notice::Shutdown(flags) => (op::SHUTDOWN, flags, 0),
                _ => (op::CREDIT_UPDATE, 0, 0),
            },
        },
    };
    let mut header = header(key, op);
    header.flags = flags;
    header.len = u32::try_from(len).expect("a buffer is below 4 GiB");
    stream.stamp(&mut header);
    Some(header)
}

fn header(key: Key, op: u16) -> Header {
    Header {
        src_cid: u64::from(husk_init::frame::HOST_CID),
        dst_cid: u64::from(husk_init::frame::GUEST_CID),
        src_port: key.host,
        dst_port: key.guest,
        kind: TYPE_STREAM,
        op,
        ..Header::default()
    }
}

fn data(key: Key) -> epoll::EventData {
    data_of(u64::from(key.guest) << 32 | u64::from(key.host))
}

fn data_of(word: u64) -> epoll::EventData {
    epoll::EventData::new_u64(word)
}

fn key(data: epoll::EventData) -> Key {
    let word = data.u64();
    let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).expect("half of 64 bits");
    Key {
        guest: half(word >> 32),
        host: half(word),
    }
}
