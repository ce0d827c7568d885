//! The network device whose frames the host's kernel moves itself (vhost): the driver calls it by an event, it calls back by
//! one, and this process does nothing but begin and end it.
//!
//! ```text
//!  driver ──QUEUE_NOTIFY──▶ event ──▶ the kernel's thread ──▶ TAP interface
//!         ◀──line────────── event ◀───┘          └──▶ error: the driver broke the protocol
//! ```

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use virtio_queue::QueueT;
use vm_memory::GuestAddress;

use super::device::QUEUES;
use super::offload::{offered, offload};
use super::wire::F_MRG_RXBUF;
use crate::devices::virtio::chain::broken;
use crate::devices::virtio::device::{Active, Device, Kind};
use crate::devices::virtio::registers::{F_EVENT_IDX, F_INDIRECT, F_VERSION_1};
use crate::kvm::memory::Mem;
use crate::kvm::vhost::{Events, Ring, VhostNet};
use crate::sys::tun;

/// What the kernel must know of queues: drivers are offered it. All else of a card the TAP interface does.
pub const KERNEL_FEATURES: u64 = F_MRG_RXBUF | F_INDIRECT | F_EVENT_IDX | F_VERSION_1;

/// The device.
pub struct Vhost {
    kernel: VhostNet,
    tap: OwnedFd,
    features: u64,
    /// By which the driver calls, for each queue.
    calls: Vec<OwnedFd>,
    /// By which it is called, for either.
    interrupt: OwnedFd,
    /// By which the kernel says that it cannot go on.
    error: OwnedFd,
    active: Option<Active>,
}

impl Vhost {
    /// Behind the interface of `tap`, whose headers have [`HEADER_LEN`](super::header::HEADER_LEN) bytes, by `file` of the
    /// kernel's, for a guest in `mem`.
    pub fn new(tap: OwnedFd, file: OwnedFd, mem: &Mem) -> io::Result<Self> {
        let event = || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        Ok(Self {
            kernel: VhostNet::adopt(file, mem)?,
            features: offered(tap.as_fd()),
            tap,
            calls: vec![event()?, event()?],
            interrupt: event()?,
            error: event()?,
            active: None,
        })
    }

    /// The same, the driver interrupted by `event` instead of one of its own.
    pub fn interrupting(self, event: BorrowedFd<'_>) -> io::Result<Self> {
        let interrupt = event.try_clone_to_owned()?;
        Ok(Self { interrupt, ..self })
    }

    /// Has the kernel serve the queues.
    fn begin(&self, active: &Active, features: u64) -> io::Result<()> {
        tun::set_offload(self.tap.as_fd(), offload(features))?;
        self.kernel.begin(features & KERNEL_FEATURES)?;
        for ((index, queue), call) in (0..).zip(&active.queues).zip(&self.calls) {
            let ring = Ring {
                size: queue.size(),
                next: queue.next_avail(),
                descriptors: GuestAddress(queue.desc_table()),
                available: GuestAddress(queue.avail_ring()),
                used: GuestAddress(queue.used_ring()),
            };
            let events = Events {
                kick: call.as_fd(),
                call: self.interrupt.as_fd(),
                error: self.error.as_fd(),
            };
            self.kernel.set_up(index, &ring, events)?;
        }
        // The driver may have filled them already.
        (0..)
            .zip(&active.queues)
            .try_for_each(|(index, _)| self.kernel.attach(index, self.tap.as_fd()))
    }
}

impl Device for Vhost {
    fn kind(&self) -> Kind {
        Kind::Network
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn activate(&mut self, active: Active, features: u64) -> io::Result<()> {
        let begun = self.begin(&active, features);
        // Whoever stops it takes back what was begun.
        self.active = Some(active);
        begun
    }

    fn stop(&mut self) -> Option<Active> {
        let mut active = self.active.take()?;
        for (index, queue) in (0..).zip(&mut active.queues) {
            // A queue that was not handed over has nothing to say.
            if let Ok(next) = self.kernel.detach(index) {
                queue.set_next_avail(next);
            }
            if let Ok(used) = queue.used_idx(&*active.mem, Ordering::Acquire) {
                queue.set_next_used(used.0);
            }
        }
        Some(active)
    }

    fn call(&self, queue: u16) -> Option<BorrowedFd<'_>> {
        let call = self.calls.get(usize::from(queue))?;
        Some(call.as_fd())
    }

    fn interrupt(&self) -> Option<BorrowedFd<'_>> {
        Some(self.interrupt.as_fd())
    }

    fn notify(&mut self, queue: u16) -> io::Result<()> {
        if let Some(call) = self.calls.get(usize::from(queue)) {
            // A full counter is seen, too.
            let _full = write(call, &1u64.to_ne_bytes());
        }
        Ok(())
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.error.as_fd())
    }

    fn poll(&mut self) -> io::Result<()> {
        match read(&self.error, &mut [0; 8]) {
            Ok(_) => Err(broken("a queue that the kernel cannot serve")),
            // Empty when it was seen before.
            Err(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Vhost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vhost")
            .field("kernel", &self.kernel)
            .field("runs", &self.active.is_some())
            .finish_non_exhaustive()
    }
}
