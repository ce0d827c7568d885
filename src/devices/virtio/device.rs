//! The seam between a virtio transport and a device.
//!
//! ```text
//! new ──activate(Active)──▶ running ──stop() -> Active──▶ idle ──activate──▶ …
//! ```
//!
//! A running device owns its queues; whoever wants them (reset, pause, a snapshot) stops the device
//! and takes them back. Nothing else reaches into it.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileMemory};

use super::chain::{Chain, Waiting, broken};
use crate::kvm::memory::Mem;

/// Device types (virtio spec 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// 5.1, network device.
    Network = 1,
    /// 5.2, block device.
    Block = 2,
    /// 5.4, entropy source.
    Rng = 4,
    /// 5.5, memory balloon.
    Balloon = 5,
    /// 5.10, socket device.
    Vsock = 19,
    /// 5.11, file system device.
    FileSystem = 26,
}

/// Why the guest is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A used ring has new entries.
    Queue,
    /// The configuration, or the device status, has changed.
    Config,
}

/// Interrupts the guest's driver.
pub trait Irq: Send + Sync + fmt::Debug {
    /// Sets the cause and raises the line.
    fn signal(&self, cause: Cause);
}

/// All that a running device owns.
#[derive(Debug)]
pub struct Active {
    /// Guest memory.
    pub mem: Mem,
    /// The device's interrupt.
    pub irq: Arc<dyn Irq>,
    /// Its queues, as the driver set them up; as many as [`Device::queues`] declares.
    pub queues: Vec<Queue>,
}

impl Active {
    /// The next chain of queue number `queue`.
    pub fn pop(&mut self, queue: usize) -> io::Result<Option<Chain>> {
        match self.queues.get_mut(queue) {
            Some(queue) => Chain::pop(queue, &self.mem),
            None => Ok(None),
        }
    }

    /// Takes chains of queue number `queue`, as far as there are any, until `take` says of one that it is enough.
    pub fn pop_until(
        &mut self,
        queue: usize,
        mut take: impl FnMut(Chain) -> io::Result<bool>,
    ) -> io::Result<()> {
        let Some(queue) = self.queues.get_mut(queue) else {
            return Ok(());
        };
        let mut waiting = Waiting::of(queue, &self.mem)?;
        while let Some(chain) = waiting.take()? {
            if take(chain)? {
                break;
            }
        }
        Ok(())
    }

    /// Puts the chain that was popped last back, untouched.
    pub fn unpop(&mut self, queue: usize) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.go_to_previous_position();
        }
    }

    /// Returns a chain into which `len` bytes were written.
    pub fn give_back(&mut self, queue: usize, head: u16, len: usize) -> io::Result<()> {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let Some(queue) = self.queues.get_mut(queue) else {
            return Ok(());
        };
        queue
            .add_used(&*self.mem, head, len)
            .map_err(|_| broken("a used ring outside of memory"))
    }

    /// Returns several chains, head and bytes written each, of which the driver sees all or none. Whether it
    /// wants to be interrupted for them: [`Active::interrupt`] does not know of all of these.
    pub fn give_back_together(&mut self, queue: usize, used: &[(u16, usize)]) -> io::Result<bool> {
        let outside = |_| broken("a used ring outside of memory");
        let (Some(((last, last_len), others)), Some(ring)) =
            (used.split_last(), self.queues.get_mut(queue))
        else {
            return Ok(false);
        };
        let (first, size) = (ring.next_used(), ring.size());
        let mut next = first;
        // Entries of 8 bytes behind a header of 4 (2.7.8); the index tells nobody of them yet.
        let start = GuestAddress(ring.used_ring().saturating_add(4));
        let entries = self.mem.get_slice(start, 8 * usize::from(size));
        let entries = entries.map_err(|_| broken("a used ring outside of memory"))?;
        for (head, len) in others {
            let len = u32::try_from(*len).unwrap_or(u32::MAX);
            let entry = u64::from(len) << 32 | u64::from(*head);
            let place = entries.get_ref::<u64>(8 * usize::from(next % size));
            place.map_err(outside)?.store(entry.to_le());
            next = next.wrapping_add(1);
        }
        ring.set_next_used(next);
        self.give_back(queue, *last, *last_len)?;
        self.wants_to_know(queue, first)
    }

    /// Whether the driver asked for an interrupt when what is behind number `first` is used (2.7.10).
    fn wants_to_know(&self, queue: usize, first: u16) -> io::Result<bool> {
        let Some(ring) = self.queues.get(queue) else {
            return Ok(false);
        };
        if !ring.event_idx_enabled() {
            return Ok(true);
        }
        // What was used is seen by who asks after this (2.7.13.4.1).
        fence(Ordering::SeqCst);
        // Behind the entries of 2 bytes, and their header of 4.
        let place = 4 + 2 * u64::from(ring.size());
        let address = GuestAddress(ring.avail_ring().saturating_add(place));
        let mut event = [0; 2];
        self.mem
            .read_slice(&mut event, address)
            .map_err(|_| broken("an available ring outside of memory"))?;
        let event = u16::from_le_bytes(event);
        Ok(event.wrapping_sub(first) < ring.next_used().wrapping_sub(first))
    }

    /// Interrupts the driver if it wants to know about what was returned to `queue`.
    pub fn interrupt(&mut self, queue: usize) -> io::Result<()> {
        if self.is_awaited(queue)? {
            self.irq.signal(Cause::Queue);
        }
        Ok(())
    }

    /// Whether the driver wants to be interrupted for what was returned to `queue` since it was last asked.
    pub fn is_awaited(&mut self, queue: usize) -> io::Result<bool> {
        let Some(queue) = self.queues.get_mut(queue) else {
            return Ok(false);
        };
        let wanted = queue.needs_notification(&*self.mem);
        wanted.map_err(|_| broken("a ring outside of memory"))
    }

    /// Asks to be notified again; true when there is more to take before that.
    pub fn rearm(&mut self, queue: usize) -> io::Result<bool> {
        let Some(queue) = self.queues.get_mut(queue) else {
            return Ok(false);
        };
        queue
            .enable_notification(&*self.mem)
            .map_err(|_| broken("a ring outside of memory"))
    }
}

/// A virtio device.
///
/// A driver that breaks the protocol is an error from `notify` or `poll`: the transport then sets
/// DEVICE_NEEDS_RESET. It is never a panic, a hang, or memory without a bound.
pub trait Device: Send {
    /// What the guest sees as the device ID.
    fn kind(&self) -> Kind;
    /// The largest size of each queue.
    fn queues(&self) -> &'static [u16];
    /// How many of the queues, the first ones, a driver that accepted `features` sets up before it begins.
    fn needed(&self, _features: u64) -> usize {
        self.queues().len()
    }
    /// Feature bits beyond VIRTIO_F_VERSION_1, which every device has.
    fn features(&self) -> u64 {
        0
    }
    /// Fills `data` from the device's configuration space; what lies beyond its end stays zero.
    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}
    /// Starts the device: the driver has set DRIVER_OK. `features` are those it accepted.
    fn activate(&mut self, active: Active, features: u64) -> io::Result<()>;
    /// Stops the device and gives back what it owned; `None` when it was not running.
    fn stop(&mut self) -> Option<Active>;
    /// The event by which the driver calls for queue number `queue`, where the device watches it itself: it is not
    /// notified then.
    fn call(&self, _queue: u16) -> Option<BorrowedFd<'_>> {
        None
    }
    /// The event by which the driver is interrupted for used buffers, where somebody else does that than the device: no
    /// cause is set then, so that one is always there.
    fn interrupt(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// The driver has put buffers into queue number `queue`.
    fn notify(&mut self, queue: u16) -> io::Result<()>;
    /// A host descriptor that becomes readable when the device has work of the host's making.
    fn source(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// [`Device::source`] is readable.
    fn poll(&mut self) -> io::Result<()> {
        Ok(())
    }
}
