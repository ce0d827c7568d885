//! All streams of one machine, and the epoll that watches their sockets.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::epoll;

use super::connection::{Connection, Notice};
use super::packet::{Header, TYPE_STREAM, op};

/// Streams at once: three for each session of init (`husk_init::frame::MAX_SESSIONS`), and to spare.
const MOST: usize = 256;

/// Refusals that wait to be sent; more are dropped, and their senders time out.
const MOST_RESETS: usize = 64;

/// What every socket is watched for: that something came, once each time. Whether it is read then is up to the guest's
/// credit and buffers, and nothing has to be said to the kernel when those come and go.
const ARRIVALS: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::RDHUP)
    .union(epoll::EventFlags::ET);

/// What says that nothing more will come.
const END: epoll::EventFlags = epoll::EventFlags::RDHUP
    .union(epoll::EventFlags::HUP)
    .union(epoll::EventFlags::ERR);

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

/// What is next for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A packet without data.
    Word(Header),
    /// Bytes of this stream, if its socket has some.
    Bytes(Key),
}

/// The streams.
#[derive(Debug)]
pub struct Connections {
    streams: BTreeMap<Key, Connection>,
    epoll: OwnedFd,
    resets: VecDeque<Key>,
    cursor: Option<Key>,
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
        let mut stream = Connection::new(socket, request);
        stream.watched = ARRIVALS.bits();
        epoll::add(&self.epoll, &stream.socket, data(key), ARRIVALS)?;
        self.streams.insert(key, stream);
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

    /// Serves the sockets that can take bytes now, or are gone. Those that have bytes are noted, and read once
    /// [`Connections::next`] names them.
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
            if flags != epoll::EventFlags::OUT {
                stream.note_arrival(flags.intersects(END));
            }
            stream.flush();
            // Hung up on both sides, as when `husk run` lost its reader: writing is over.
            if flags.contains(epoll::EventFlags::HUP) {
                stream.hang_up();
            }
            self.settle(key);
        }
        Ok(())
    }

    /// Watches a socket for room where bytes wait for some, and ends a stream that is over.
    pub fn settle(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        if stream.is_over() {
            return self.reset(key);
        }
        let mut flags = ARRIVALS;
        flags.set(epoll::EventFlags::OUT, stream.wants_output());
        if stream.watched != flags.bits() {
            stream.watched = flags.bits();
            // Fails only for a socket that is not in the epoll, and then nobody watches it.
            let _unwatched = epoll::modify(&self.epoll, &stream.socket, data(key), flags);
        }
    }

    /// What is next for the guest; streams take turns.
    pub fn next(&mut self) -> Option<Next> {
        if let Some(key) = self.resets.pop_front() {
            return Some(Next::Word(header(key, op::RST)));
        }
        let key = self.turn()?;
        let stream = self.streams.get_mut(&key)?;
        self.cursor = Some(key);
        // The answer to the request comes first; a SHUTDOWN comes behind the last byte of data.
        let Some(notice) = stream.next_notice() else {
            return Some(Next::Bytes(key));
        };
        let (op, flags) = match notice {
            Notice::Response => (op::RESPONSE, 0),
            Notice::Credit => (op::CREDIT_UPDATE, 0),
            Notice::Shutdown(flags) => (op::SHUTDOWN, flags),
        };
        let mut header = header(key, op);
        header.flags = flags;
        stream.stamp(&mut header);
        self.settle(key);
        Some(Next::Word(header))
    }

    /// The first stream with news behind the one that was last.
    fn turn(&self) -> Option<Key> {
        let last = self.cursor;
        let behind = last.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.streams.range((behind, Bound::Unbounded));
        let others = last.map(|last| self.streams.range(..=last));
        let mut all = behind.chain(others.into_iter().flatten());
        all.find(|(_, stream)| stream.has_news())
            .map(|(key, _)| *key)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.streams.clear();
        self.resets.clear();
        self.cursor = None;
    }
}

/// A packet of a stream's with `len` bytes of data.
pub fn data_packet(stream: &mut Connection, key: Key, len: usize) -> Header {
    let mut header = header(key, op::RW);
    header.len = u32::try_from(len).expect("a packet is below 4 GiB");
    stream.stamp(&mut header);
    header
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
