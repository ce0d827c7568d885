//! Between the two queues and a TAP interface of the host's: frames go from guest memory to the kernel and back, without
//! a copy of ours in between. Their headers the kernel checks; it is used to programs that it does not trust.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, read};

use super::expected::{Answers, Pace};
use super::header::HEADER_LEN;
use super::offload::{offered, offload};
use super::wire::{F_MRG_RXBUF, Moved, RECEIVE, TURN, Wire};
use crate::devices::virtio::chain::{Chain, Segment, broken, length, total};
use crate::devices::virtio::device::Active;
use crate::kvm::memory::Mem;
use crate::kvm::transfer::Scatter;
use crate::net::ETHERNET_LEN;
use crate::sys::tun::{self, Offload};

/// Most bytes of a frame with its header: a packet is as long as its length can say, and there may be a tag of a
/// virtual LAN.
const MOST: usize = HEADER_LEN + ETHERNET_LEN + 4 + 65535;

/// Where `num_buffers` is in the header (virtio 1.2, 5.1.6); the kernel leaves it as it is.
const NUM_BUFFERS: usize = 10;

/// The way to a network of the host's.
#[derive(Debug)]
pub struct Tap {
    tap: OwnedFd,
    features: u64,
    /// What the kernel leaves to the driver now.
    left: Offload,
    /// Whether a frame may take several buffers (VIRTIO_NET_F_MRG_RXBUF).
    merges: bool,
    /// The driver's buffers that are taken already, in order, and their bytes.
    room: VecDeque<Chain>,
    space: usize,
    /// Bytes of a frame that waits for buffers, in `bytes`.
    held: Option<usize>,
    bytes: Vec<u8>,
    /// How many frames the kernel may have, as far as we know.
    may_have: usize,
    /// How many frames have come in turn that fitted into one stretch of memory.
    short: u8,
    pace: Pace,
    answers: Answers,
    /// Whether the interface is gone.
    is_gone: bool,
    /// Where the buffers of `room` are, and those of the frame that is sent; while a driver has begun.
    places: Option<Places>,
    used: Vec<(u16, usize)>,
}

#[derive(Debug)]
struct Places {
    room: Scatter,
    sent: Scatter,
}

impl Tap {
    /// After how many short frames in turn the next one is taken for one, too.
    const SHORT: u8 = 4;

    /// Behind the interface of `tap`, whose headers have [`HEADER_LEN`] bytes.
    pub fn new(tap: OwnedFd) -> Self {
        Self {
            features: offered(tap.as_fd()),
            tap,
            left: Offload::default(),
            merges: false,
            room: VecDeque::new(),
            space: 0,
            held: None,
            bytes: vec![0; MOST],
            may_have: usize::MAX,
            short: 0,
            pace: Pace::default(),
            answers: Answers::default(),
            is_gone: false,
            places: None,
            used: Vec::new(),
        }
    }

    /// Takes buffers until the longest frame fits, as far as there are any.
    fn gather(&mut self, active: &mut Active) -> io::Result<()> {
        if self.has_room() {
            return Ok(());
        }
        active.pop_until(RECEIVE, |chain| {
            let more = total(&chain.writable);
            if more < HEADER_LEN {
                return Err(broken("a receive buffer without room for a header"));
            }
            self.space = self.space.saturating_add(more);
            if let Some(places) = &mut self.places {
                extend(&mut places.room, &chain.writable)?;
            }
            self.room.push_back(chain);
            Ok(self.has_room())
        })
    }

    /// Whether the longest frame fits into what was gathered, or no more may be gathered for it.
    fn has_room(&self) -> bool {
        self.space >= MOST || !self.merges && !self.room.is_empty()
    }

    /// Puts the next frame into the buffers that were gathered; how long it is, or `None` where there is none, or
    /// none that fits yet.
    fn take(&mut self, active: &mut Active) -> io::Result<Option<usize>> {
        if self.held.is_none() && self.space >= MOST {
            return self.take_directly(active);
        }
        loop {
            let Some(len) = self.held.take().or_else(|| self.take_aside()) else {
                return Ok(None);
            };
            if len <= self.space {
                self.fill(0, &self.bytes[..len], active)?;
                return Ok(Some(len));
            }
            // Where one buffer is all that a frame gets, it is lost if that is too small.
            if self.merges || self.room.is_empty() {
                self.held = Some(len);
                return Ok(None);
            }
        }
    }

    /// The next frame, straight into the driver's buffers: the longest would fit. Where frames have been short, all behind the
    /// first stretch comes aside.
    fn take_directly(&mut self, active: &Active) -> io::Result<Option<usize>> {
        let Some(places) = self.places.as_mut() else {
            return Ok(None);
        };
        let are_short = self.short >= Self::SHORT;
        let read = match are_short {
            true => {
                let spill = &mut self.bytes;
                places.room.read_spilling(self.tap.as_fd(), 1, spill)
            }
            false => places.room.read_once(self.tap.as_fd()),
        };
        let len = match read {
            Ok(len) => len,
            Err(error) => {
                self.note(error.raw_os_error());
                return Ok(None);
            }
        };
        let mut segments = self.room.iter().flat_map(|chain| &chain.writable);
        let first = segments.next().map_or(0, |first| length(*first));
        if len <= first {
            self.short = self.short.saturating_add(1);
        } else {
            self.short = 0;
            if are_short && segments.next().is_some() {
                self.fill(first, &self.bytes[..len - first], active)?;
            }
        }
        Ok(Some(len))
    }

    /// The next frame, into a buffer of our own.
    fn take_aside(&mut self) -> Option<usize> {
        match read(&self.tap, &mut self.bytes) {
            Ok(len) => Some(len),
            Err(errno) => {
                self.note(Some(errno.raw_os_error()));
                None
            }
        }
    }

    /// What the kernel says instead of a frame: there is none now, or never again.
    fn note(&mut self, errno: Option<i32>) {
        let soon = [Errno::AGAIN, Errno::INTR].map(|errno| Some(errno.raw_os_error()));
        self.is_gone = !soon.contains(&errno);
        self.may_have = 0;
        self.pace.end();
        self.answers.note(false);
    }

    /// Copies `bytes` of a frame, from number `at` of its bytes on, into the buffers that were gathered.
    fn fill(&self, at: usize, bytes: &[u8], active: &Active) -> io::Result<()> {
        let (mut skip, mut rest) = (at, bytes);
        for chain in &self.room {
            let space = total(&chain.writable);
            let offset = skip.min(space);
            let (now, later) = rest.split_at(rest.len().min(space - offset));
            chain.write(&active.mem, offset, now)?;
            (skip, rest) = (skip - offset, later);
        }
        Ok(())
    }

    /// Gives back the buffers that hold a frame of `len` bytes, all at once: the driver must see all or none of
    /// them. Whether it wants to be interrupted.
    fn deliver(&mut self, len: usize, active: &mut Active) -> io::Result<bool> {
        let (mut rest, mut segments, mut first) = (len, 0, None);
        self.used.clear();
        while rest > 0
            && let Some(chain) = self.room.pop_front()
        {
            let space = total(&chain.writable);
            let now = rest.min(space);
            self.used.push((chain.head, now));
            rest -= now;
            self.space -= space;
            segments += chain.writable.len();
            first.get_or_insert(chain);
        }
        if let Some(places) = &mut self.places {
            places.room.take_away(segments);
        }
        let buffers = u16::try_from(self.used.len()).map_err(|_| broken("too many buffers"))?;
        if let Some(first) = first {
            first.write(&active.mem, NUM_BUFFERS, &buffers.to_le_bytes())?;
        }
        active.give_back_together(RECEIVE, &self.used)
    }
}

impl Wire for Tap {
    fn features(&self) -> u64 {
        self.features
    }

    fn begin(&mut self, features: u64, mem: &Mem) -> io::Result<()> {
        let [room, sent] = [mem, mem].map(|mem| Scatter::new(Mem::clone(mem)));
        self.places = Some(Places { room, sent });
        self.merges = features & F_MRG_RXBUF != 0;
        let left = offload(features);
        if left != self.left {
            tun::set_offload(self.tap.as_fd(), left)?;
            self.left = left;
        }
        Ok(())
    }

    fn send(&mut self, chain: &Chain, _active: &Active) -> io::Result<()> {
        let len = total(&chain.readable);
        if len < HEADER_LEN {
            return Err(broken("a frame without its header"));
        }
        if len > MOST {
            return Ok(());
        }
        if let Some(Places { sent, .. }) = &mut self.places {
            sent.clear();
            extend(sent, &chain.readable)?;
            let _taken_or_lost = sent.write_once(self.tap.as_fd());
        }
        if self.may_have == 0 && self.answers.are_expected() {
            self.may_have = self.pace.begin();
        }
        Ok(())
    }

    fn receive(&mut self, active: &mut Active) -> io::Result<Moved> {
        let (mut count, mut is_awaited) = (0, false);
        while count < TURN && (self.may_have > 0 || self.is_stuck()) {
            self.gather(active)?;
            let Some(len) = self.take(active)? else {
                break;
            };
            count += 1;
            self.may_have = self.may_have.saturating_sub(1);
            self.pace.count();
            self.answers.note(true);
            is_awaited |= self.deliver(len, active)?;
        }
        Ok(Moved { count, is_awaited })
    }

    fn is_stuck(&self) -> bool {
        self.held.is_some()
    }

    fn put_back(&mut self, active: &mut Active) {
        for _ in self.room.drain(..) {
            active.unpop(RECEIVE);
        }
        self.space = 0;
        if let Some(places) = &mut self.places {
            places.room.clear();
        }
    }

    fn listens(&self) -> bool {
        !self.is_stuck() && !self.is_gone
    }

    fn source(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }

    fn poll(&mut self, is_readable: bool) -> io::Result<()> {
        self.may_have = if is_readable { self.pace.begin() } else { 0 };
        Ok(())
    }
}

/// Behind `places`, those of `segments`.
fn extend(places: &mut Scatter, segments: &[Segment]) -> io::Result<()> {
    segments.iter().try_for_each(|segment| {
        let pushed = places.push(segment.address, length(*segment));
        pushed.map_err(|_| broken("a buffer outside of memory"))
    })
}
