//! The driver's buffers for what it receives, a packet each.
//!
//! Linux gives pages, so a packet has less than 4 KiB of data. What a socket has goes into as many of them as there are,
//! by one read and without a copy of ours:
//!
//! ```text
//!  a socket's bytes   ├───────── one read ─────────┤
//!  buffers            │hdr│ data │ │hdr│ data │ │hdr│ data │ …   all given back together
//! ```

use std::collections::VecDeque;
use std::io;

use super::packet::{HEADER_LEN, Header, MOST_DATA, RECEIVE};
use crate::devices::virtio::chain::{Chain, broken, length, split, total};
use crate::devices::virtio::device::{Active, Cause};
use crate::kvm::memory::Mem;
use crate::kvm::transfer::Scatter;

/// Most pieces of memory in one read (IOV_MAX of Linux).
const MOST_PIECES: usize = 1024;

/// The buffers.
#[derive(Debug)]
pub struct Inbox {
    /// Those that were taken and are not used yet, in order.
    chains: VecDeque<Chain>,
    /// Where the data of the next packets goes.
    places: Scatter,
    used: Vec<(u16, usize)>,
    /// Whether the driver waits for what it was given.
    is_awaited: bool,
}

impl Inbox {
    /// None yet, in `mem`.
    pub fn new(mem: Mem) -> Self {
        Self {
            chains: VecDeque::new(),
            places: Scatter::new(mem),
            used: Vec::new(),
            is_awaited: false,
        }
    }

    /// Whether there is a buffer.
    pub fn has_room(&mut self, active: &mut Active) -> io::Result<bool> {
        Ok(!self.chains.is_empty() || self.take(active)?)
    }

    fn take(&mut self, active: &mut Active) -> io::Result<bool> {
        let Some(chain) = active.pop(RECEIVE)? else {
            return Ok(false);
        };
        self.chains.push_back(chain);
        Ok(true)
    }

    /// Finds places for up to `most` bytes of data in as many buffers as there are; for how many.
    pub fn lay_out(&mut self, active: &mut Active, most: usize) -> io::Result<usize> {
        self.places.clear();
        let (mut asked, mut pieces, mut number) = (0, 0, 0);
        while asked < most && (number < self.chains.len() || self.take(active)?) {
            let chain = &self.chains[number];
            let len = room(chain)?.min(most - asked);
            let parts = split(&chain.writable, HEADER_LEN, len)?;
            pieces += parts.len();
            if pieces > MOST_PIECES {
                break;
            }
            for part in parts {
                let pushed = self.places.push(part.address, length(part));
                pushed.map_err(|_| broken("a buffer outside of memory"))?;
            }
            (asked, number) = (asked + len, number + 1);
        }
        match asked {
            // No chain may be longer than a queue (2.7.5.3.1).
            0 if pieces > MOST_PIECES => Err(broken("a receive buffer in too many pieces")),
            asked => Ok(asked),
        }
    }

    /// What was laid out.
    pub fn places(&self) -> &Scatter {
        &self.places
    }

    /// Gives the driver `len` bytes, which are in their places already, in as many packets as that takes, one at
    /// least; `packet` makes the header of one with so many bytes.
    pub fn deliver(
        &mut self,
        active: &mut Active,
        len: usize,
        mut packet: impl FnMut(usize) -> Header,
    ) -> io::Result<()> {
        self.used.clear();
        let mut left = len;
        while let Some(chain) = self.chains.pop_front() {
            let now = room(&chain)?.min(left);
            chain.write(&active.mem, 0, &packet(now).encode())?;
            self.used.push((chain.head, HEADER_LEN + now));
            left -= now;
            if left == 0 {
                break;
            }
        }
        self.is_awaited |= active.give_back_together(RECEIVE, &self.used)?;
        Ok(())
    }

    /// Interrupts the driver if it waits for what it was given.
    pub fn interrupt(&mut self, active: &Active) {
        if self.is_awaited {
            self.is_awaited = false;
            active.irq.signal(Cause::Queue);
        }
    }

    /// Puts back what was taken and not used.
    pub fn put_back(&mut self, active: &mut Active) {
        for _ in self.chains.drain(..) {
            active.unpop(RECEIVE);
        }
    }
}

/// Bytes of data that a receive buffer takes. One that takes none would make every read of a socket
/// look like its end.
fn room(chain: &Chain) -> io::Result<usize> {
    match total(&chain.writable).checked_sub(HEADER_LEN) {
        Some(room) if room > 0 => Ok(room.min(MOST_DATA)),
        _ => Err(broken("a receive buffer without room for data")),
    }
}
