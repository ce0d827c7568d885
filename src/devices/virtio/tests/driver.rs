//! A driver that does what Linux does, or whatever a test wants instead.

use std::sync::Arc;
use std::time::Instant;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::devices::virtio::device::Device;
use crate::devices::virtio::mmio::Transport;
use crate::devices::virtio::pace::Pace;
use crate::devices::virtio::registers as reg;
use crate::kvm::bus::BusDevice;
use crate::kvm::line::Line;
use crate::kvm::memory::Mem;
use crate::spec::DeviceRates;

/// Guest memory: rings in the first half of each queue's share, buffers from [`BUFFERS`] on.
const MEMORY: usize = 4 << 20;
const RINGS: u64 = 0x1_0000;
const RING_SHARE: u64 = 0x1_0000;
/// Where tests put their buffers.
pub const BUFFERS: u64 = 0x10_0000;
/// Entries of every queue.
const SIZE: u16 = 16;

const DESCRIPTOR_NEXT: u16 = 1;
const DESCRIPTOR_WRITE: u16 = 2;

/// Behind the descriptor table: the available ring, and the used ring.
const AVAILABLE: u64 = 0x4000;
const USED: u64 = 0x8000;

/// A buffer of a chain.
#[derive(Debug, Clone, Copy)]
pub struct Buffer {
    pub address: u64,
    pub len: u32,
    pub writable: bool,
}

/// What the device reads.
pub fn readable(address: u64, len: u32) -> Buffer {
    Buffer {
        address,
        len,
        writable: false,
    }
}

/// What the device writes.
pub fn writable(address: u64, len: u32) -> Buffer {
    Buffer {
        address,
        len,
        writable: true,
    }
}

/// A line that counts its edges.
#[derive(Debug)]
struct Wire(EventFd);

impl Line for Wire {
    fn pulse(&self) {
        self.0.write(1).unwrap();
    }
}

pub struct Driver {
    pub transport: Transport,
    pub mem: Mem,
    irq: EventFd,
    /// Per queue: how many chains were offered, how many came back.
    offered: Vec<u16>,
    taken: Vec<u16>,
}

impl Driver {
    /// A driver before its first register access.
    pub fn new(device: impl Device + 'static) -> Self {
        Self::within(memory(), device)
    }

    /// The same, of a guest in `mem`.
    pub fn within(mem: Mem, device: impl Device + 'static) -> Self {
        let irq = EventFd::new(EFD_NONBLOCK).unwrap();
        let line = Box::new(Wire(irq.try_clone().unwrap()));
        let transport = Transport::new(Box::new(device), Arc::clone(&mem), line);
        let queues = transport.queue_count();
        Self {
            transport,
            mem,
            irq,
            offered: vec![0; queues],
            taken: vec![0; queues],
        }
    }

    /// A driver that has set the device up.
    pub fn ready(device: impl Device + 'static) -> Self {
        let mut driver = Self::new(device);
        driver.negotiate();
        driver.set_up_queues();
        driver.write(reg::STATUS, 15);
        assert_eq!(driver.read(reg::STATUS), 15);
        driver
    }

    /// Resets the device and sets it up again, with empty rings.
    pub fn restart(&mut self) {
        self.restart_with(0);
    }

    /// The same, with these of the first 32 features.
    pub fn restart_with(&mut self, features: u32) {
        self.restart_with_queues(features, self.offered.len());
    }

    /// The same, with the first `count` queues alone.
    pub fn restart_with_queues(&mut self, features: u32, count: usize) {
        self.write(reg::STATUS, 0);
        let queues = self.offered.len();
        for queue in 0..queues {
            let share = usize::try_from(RING_SHARE).unwrap();
            self.put(ring(queue), &vec![0; share]);
        }
        (self.offered, self.taken) = (vec![0; queues], vec![0; queues]);
        self.write(reg::DRIVER_FEATURES_SEL, 0);
        self.write(reg::DRIVER_FEATURES, features);
        self.negotiate();
        self.set_up_queues_until(count);
        self.write(reg::STATUS, 15);
    }

    pub fn read(&mut self, register: u64) -> u32 {
        let mut word = [0; 4];
        self.transport.read(register, &mut word);
        u32::from_le_bytes(word)
    }

    pub fn write(&mut self, register: u64, value: u32) {
        self.transport.write(register, &value.to_le_bytes());
    }

    /// Up to FEATURES_OK, with VIRTIO_F_VERSION_1 and nothing else.
    pub fn negotiate(&mut self) {
        self.write(reg::STATUS, 1);
        self.write(reg::STATUS, 3);
        self.write(reg::DRIVER_FEATURES_SEL, 1);
        self.write(reg::DRIVER_FEATURES, 1);
        self.write(reg::STATUS, 11);
    }

    pub fn set_up_queues(&mut self) {
        self.set_up_queues_until(self.offered.len());
    }

    fn set_up_queues_until(&mut self, count: usize) {
        for queue in 0..count {
            let base = u32::try_from(ring(queue)).unwrap();
            self.write(reg::QUEUE_SEL, u32::try_from(queue).unwrap());
            self.write(reg::QUEUE_NUM, SIZE.into());
            self.write(reg::QUEUE_DESC_LOW, base);
            self.write(
                reg::QUEUE_DRIVER_LOW,
                base + u32::try_from(AVAILABLE).unwrap(),
            );
            self.write(reg::QUEUE_DEVICE_LOW, base + u32::try_from(USED).unwrap());
            self.write(reg::QUEUE_READY, 1);
        }
    }

    pub fn put(&self, address: u64, bytes: &[u8]) {
        self.mem.write_slice(bytes, GuestAddress(address)).unwrap();
    }

    pub fn get(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.mem
            .read_slice(&mut bytes, GuestAddress(address))
            .unwrap();
        bytes
    }

    /// Offers a chain, without notifying. Each chain takes its own descriptors, from `first` on.
    pub fn offer(&mut self, queue: usize, first: u16, chain: &[Buffer]) {
        for (index, buffer) in (first..).zip(chain) {
            let last = usize::from(index - first) + 1 == chain.len();
            let flags = if last { 0 } else { DESCRIPTOR_NEXT };
            let flags = if buffer.writable {
                flags | DESCRIPTOR_WRITE
            } else {
                flags
            };
            self.describe(queue, index, *buffer, flags, index + 1);
        }
        self.make_available(queue, first);
    }

    pub fn describe(&self, queue: usize, index: u16, buffer: Buffer, flags: u16, next: u16) {
        let mut descriptor = Vec::new();
        descriptor.extend(buffer.address.to_le_bytes());
        descriptor.extend(buffer.len.to_le_bytes());
        descriptor.extend(flags.to_le_bytes());
        descriptor.extend(next.to_le_bytes());
        self.put(ring(queue) + 16 * u64::from(index), &descriptor);
    }

    pub fn make_available(&mut self, queue: usize, head: u16) {
        let ring = ring(queue) + AVAILABLE;
        let slot = u64::from(self.offered[queue] % SIZE);
        self.put(ring + 4 + 2 * slot, &head.to_le_bytes());
        self.offered[queue] = self.offered[queue].wrapping_add(1);
        let index = self.offered[queue];
        self.put(ring + 2, &index.to_le_bytes());
    }

    /// Claims that chains are available up to `index`.
    pub fn set_available_index(&mut self, queue: usize, index: u16) {
        self.put(ring(queue) + AVAILABLE + 2, &index.to_le_bytes());
    }

    pub fn notify(&mut self, queue: usize) {
        self.write(reg::QUEUE_NOTIFY, u32::try_from(queue).unwrap());
    }

    /// Chains that came back since the last time: head and length.
    pub fn used(&mut self, queue: usize) -> Vec<(u32, u32)> {
        let ring = ring(queue) + USED;
        let index = u16::from_le_bytes(self.get(ring + 2, 2).try_into().unwrap());
        let mut back = Vec::new();
        while self.taken[queue] != index {
            let entry = self.get(ring + 4 + 8 * u64::from(self.taken[queue] % SIZE), 8);
            let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
            back.push((word(0), word(4)));
            self.taken[queue] += 1;
        }
        back
    }

    /// Whether the device interrupted since the last time.
    pub fn interrupted(&self) -> bool {
        self.irq.read().is_ok()
    }
}

/// What a driver needs.
pub fn memory() -> Mem {
    Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap())
}

/// As fast as disks are.
pub fn unbounded() -> Arc<Pace> {
    Arc::new(Pace::new(&DeviceRates::default(), Instant::now()))
}

fn ring(queue: usize) -> u64 {
    RINGS + RING_SHARE * queue as u64
}
