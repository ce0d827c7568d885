//! Between the two queues and a peer: frames are moved, one at a time.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::header::{self, HEADER_LEN};
use super::wire::{F_CSUM, F_GUEST_CSUM, F_MRG_RXBUF, Moved, RECEIVE, TURN, Wire};
use crate::devices::virtio::chain::{Chain, broken, total};
use crate::devices::virtio::device::Active;
use crate::kvm::memory::Mem;
use crate::net::{FRAME_LEN, Frame, Peer};

/// Whether a frame has buffers.
enum Room {
    /// It has.
    Enough,
    /// Not before the driver gives more.
    TooLittle,
    /// The driver takes one buffer per frame, and it is too small: the frame is lost.
    Never,
}

/// What stands between.
pub struct Cable {
    /// The other end.
    peer: Box<dyn Peer>,
    /// Whether the driver finishes checksums (VIRTIO_NET_F_GUEST_CSUM).
    finishes: bool,
    /// Whether a frame may take several buffers (VIRTIO_NET_F_MRG_RXBUF).
    merges: bool,
    /// A frame that found no room yet.
    held: Option<Frame>,
    /// Buffers taken for it.
    room: Vec<Chain>,
    bytes: Vec<u8>,
    spare: Frame,
}

impl Cable {
    /// To `peer`.
    pub fn new(peer: Box<dyn Peer>) -> Self {
        Self {
            peer,
            finishes: false,
            merges: false,
            held: None,
            room: Vec::new(),
            bytes: Vec::new(),
            spare: Frame::default(),
        }
    }

    fn next_frame(&mut self) -> Option<Frame> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        let mut frame = std::mem::take(&mut self.spare);
        if !self.peer.give(&mut frame) {
            self.spare = frame;
            return None;
        }
        if !self.finishes {
            frame.finish();
        }
        Some(frame)
    }

    /// Takes buffers until `frame` fits.
    fn gather(&mut self, frame: &Frame, active: &mut Active) -> io::Result<Room> {
        let needed = HEADER_LEN + frame.bytes.len();
        let mut room: usize = self.room.iter().map(|chain| total(&chain.writable)).sum();
        while room < needed {
            if !self.merges && !self.room.is_empty() {
                return Ok(Room::Never);
            }
            let Some(chain) = active.pop(RECEIVE)? else {
                return Ok(Room::TooLittle);
            };
            let more = total(&chain.writable);
            if more < HEADER_LEN {
                return Err(broken("a receive buffer without room for a header"));
            }
            room = room.saturating_add(more);
            self.room.push(chain);
        }
        Ok(Room::Enough)
    }

    /// Writes `frame` into the buffers that were gathered, and gives them back at once: the driver must see
    /// all or none of them. Whether it wants to be interrupted.
    fn deliver(&mut self, frame: &Frame, active: &mut Active) -> io::Result<bool> {
        let buffers = u16::try_from(self.room.len()).map_err(|_| broken("too many buffers"))?;
        let header = header::encode(frame.unsummed, buffers);
        let mut rest = frame.bytes.as_slice();
        let mut used = Vec::with_capacity(self.room.len());
        for (index, chain) in self.room.drain(..).enumerate() {
            let head = if index == 0 { &header[..] } else { &[] };
            chain.write(&active.mem, 0, head)?;
            let space = total(&chain.writable).saturating_sub(head.len());
            let (now, later) = rest.split_at(rest.len().min(space));
            chain.write(&active.mem, head.len(), now)?;
            rest = later;
            used.push((chain.head, head.len() + now.len()));
        }
        active.give_back_together(RECEIVE, &used)
    }
}

impl fmt::Debug for Cable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cable")
            .field("is_stuck", &self.is_stuck())
            .finish_non_exhaustive()
    }
}

impl Wire for Cable {
    fn features(&self) -> u64 {
        F_CSUM | F_GUEST_CSUM | F_MRG_RXBUF
    }

    fn begin(&mut self, features: u64, _mem: &Mem) -> io::Result<()> {
        self.finishes = features & F_GUEST_CSUM != 0;
        self.merges = features & F_MRG_RXBUF != 0;
        Ok(())
    }

    /// One frame. What is longer than a frame, or asks for what was not offered, is none.
    fn send(&mut self, chain: &Chain, active: &Active) -> io::Result<()> {
        let len = total(&chain.readable);
        if len < HEADER_LEN {
            return Err(broken("a frame without its header"));
        }
        // A tag of a virtual LAN may be there, too.
        if len > HEADER_LEN + FRAME_LEN + 4 {
            return Ok(());
        }
        self.bytes.resize(len, 0);
        chain.read(&active.mem, &mut self.bytes)?;
        if let Some((header, frame)) = self.bytes.split_first_chunk()
            && header::is_plain(header)
        {
            self.peer.take(frame, header::unsummed(header));
        }
        Ok(())
    }

    fn receive(&mut self, active: &mut Active) -> io::Result<Moved> {
        let (mut count, mut is_awaited) = (0, false);
        while count < TURN
            && let Some(frame) = self.next_frame()
        {
            match self.gather(&frame, active)? {
                Room::Enough => {}
                Room::TooLittle => {
                    self.held = Some(frame);
                    break;
                }
                Room::Never => continue,
            }
            count += 1;
            is_awaited |= self.deliver(&frame, active)?;
            self.spare = frame;
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
    }

    fn source(&self) -> BorrowedFd<'_> {
        self.peer.source()
    }

    fn poll(&mut self, _is_readable: bool) -> io::Result<()> {
        self.peer.poll()
    }

    fn patience(&self) -> Option<Duration> {
        self.peer.patience()
    }
}
