//! The MMIO transport: registers on one side, a [`Device`] on the other.
//!
//! ```text
//! status: 0 ─ACKNOWLEDGE─▶ 1 ─DRIVER─▶ 3 ─FEATURES_OK─▶ 11 ─DRIVER_OK─▶ 15: the device is active
//!         ▲                                                                │
//!         └──────────────────── write 0: stop, take the queues back ◀──────┘
//! ```
//!
//! A driver that writes a status out of this order is ignored; FAILED may be set at any time.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use virtio_queue::{Queue, QueueT};

use super::device::{Active, Cause, Device, Irq};
use super::registers as reg;
use crate::kvm::bus::BusDevice;
use crate::kvm::line::Line;
use crate::kvm::memory::Mem;

/// Legal steps of the status: from all bits, to all bits.
const STEPS: [(u32, u32); 4] = [
    (0, reg::ACKNOWLEDGE),
    (reg::ACKNOWLEDGE, reg::ACKNOWLEDGE | reg::DRIVER),
    (
        reg::ACKNOWLEDGE | reg::DRIVER,
        reg::ACKNOWLEDGE | reg::DRIVER | reg::FEATURES_OK,
    ),
    (
        reg::ACKNOWLEDGE | reg::DRIVER | reg::FEATURES_OK,
        reg::ACKNOWLEDGE | reg::DRIVER | reg::FEATURES_OK | reg::DRIVER_OK,
    ),
];

/// The device's interrupt: a cause for the driver to read, and a line to raise.
#[derive(Debug)]
struct Interrupt {
    status: AtomicU32,
    line: Box<dyn Line>,
}

impl Irq for Interrupt {
    fn signal(&self, cause: Cause) {
        let bit = match cause {
            Cause::Queue => reg::INTERRUPT_QUEUE,
            Cause::Config => reg::INTERRUPT_CONFIG,
        };
        self.status.fetch_or(bit, Ordering::SeqCst);
        self.line.pulse();
    }
}

/// One device and its registers.
pub struct Transport {
    device: Box<dyn Device>,
    mem: Mem,
    interrupt: Arc<Interrupt>,
    status: u32,
    features_sel: u32,
    driver_features: u64,
    driver_features_sel: u32,
    queue_sel: u32,
    queues: Vec<Queue>,
    generation: u32,
}

impl Transport {
    /// Puts `device` behind registers, and gives it an interrupt line.
    pub fn new(device: Box<dyn Device>, mem: Mem, line: Box<dyn Line>) -> Self {
        let queues = new_queues(&*device);
        Self {
            device,
            mem,
            interrupt: Arc::new(Interrupt {
                status: AtomicU32::new(0),
                line,
            }),
            status: 0,
            features_sel: 0,
            driver_features: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            queues,
            generation: 0,
        }
    }

    /// How many queues the device has.
    pub fn queue_count(&self) -> usize {
        self.device.queues().len()
    }

    /// See [`Device::call`].
    pub fn call(&self, queue: u16) -> Option<BorrowedFd<'_>> {
        self.device.call(queue)
    }

    /// See [`Device::interrupt`].
    pub fn interrupt(&self) -> Option<BorrowedFd<'_>> {
        self.device.interrupt()
    }

    /// The driver has put buffers into a queue.
    pub fn notify(&mut self, queue: u16) {
        if self.is_active() && usize::from(queue) < self.queue_count() {
            let served = self.device.notify(queue);
            self.fail_on(served);
        }
    }

    /// See [`Device::source`].
    pub fn source(&self) -> Option<BorrowedFd<'_>> {
        self.device.source()
    }

    /// [`Transport::source`] is readable.
    pub fn poll(&mut self) {
        if self.is_active() {
            let served = self.device.poll();
            self.fail_on(served);
        }
    }

    /// Whether a driver has the device, and neither of them broke.
    pub fn is_active(&self) -> bool {
        self.status & reg::DRIVER_OK != 0 && self.status & (reg::NEEDS_RESET | reg::FAILED) == 0
    }

    /// A driver that broke the protocol, or a device that broke, needs a reset (2.1.2). Until then
    /// nothing serves the device, so it lets go of whatever could wake it.
    fn fail_on(&mut self, served: std::io::Result<()>) {
        if served.is_err() {
            drop(self.device.stop());
            self.status |= reg::NEEDS_RESET;
            self.interrupt.signal(Cause::Config);
        }
    }

    fn offered(&self) -> u64 {
        self.device.features() | reg::F_VERSION_1 | reg::F_INDIRECT | reg::F_EVENT_IDX
    }

    fn set_status(&mut self, status: u32) {
        if status == 0 {
            return self.reset();
        }
        if status & reg::FAILED != 0 {
            drop(self.device.stop());
            self.status |= reg::FAILED;
        } else if STEPS.contains(&(self.status, status)) {
            match status ^ self.status {
                reg::FEATURES_OK if !self.features_fit() => return,
                reg::DRIVER_OK => return self.activate(status),
                _ => {}
            }
            self.status = status;
        }
    }

    /// The driver takes what was offered and nothing else, and speaks virtio 1 (6.1).
    fn features_fit(&self) -> bool {
        self.driver_features & !self.offered() == 0 && self.driver_features & reg::F_VERSION_1 != 0
    }

    fn activate(&mut self, status: u32) {
        self.status = status;
        let event_idx = self.driver_features & reg::F_EVENT_IDX != 0;
        let mut queues = std::mem::take(&mut self.queues);
        queues
            .iter_mut()
            .for_each(|queue| queue.set_event_idx(event_idx));
        let needed = self.device.needed(self.driver_features);
        let mut needed = queues.iter().take(needed);
        if !needed.all(|queue| queue.is_valid(&*self.mem)) {
            self.queues = queues;
            return self.fail_on(Err(std::io::ErrorKind::InvalidInput.into()));
        }
        let (mem, irq) = (
            Arc::clone(&self.mem),
            Arc::clone(&self.interrupt) as Arc<dyn Irq>,
        );
        let active = Active { mem, irq, queues };
        let activated = self.device.activate(active, self.driver_features);
        self.fail_on(activated);
    }

    fn reset(&mut self) {
        drop(self.device.stop());
        self.queues = new_queues(&*self.device);
        self.status = 0;
        self.driver_features = 0;
        (self.features_sel, self.driver_features_sel, self.queue_sel) = (0, 0, 0);
        self.interrupt.status.store(0, Ordering::SeqCst);
    }

    fn causes(&self) -> u32 {
        let set = self.interrupt.status.load(Ordering::SeqCst);
        match self.device.interrupt() {
            Some(_) if self.is_active() => set | reg::INTERRUPT_QUEUE,
            _ => set,
        }
    }

    fn read_register(&self, offset: u64) -> u32 {
        let queue = self.selected();
        match offset {
            reg::MAGIC_VALUE => reg::MAGIC,
            reg::DEVICE_VERSION => reg::VERSION,
            reg::DEVICE_ID => self.device.kind() as u32,
            reg::VENDOR_ID => reg::VENDOR,
            reg::DEVICE_FEATURES => half(self.offered(), self.features_sel),
            reg::QUEUE_NUM_MAX => queue.map_or(0, |queue| u32::from(queue.max_size())),
            reg::QUEUE_READY => queue.map_or(0, |queue| u32::from(queue.ready())),
            reg::INTERRUPT_STATUS => self.causes(),
            reg::STATUS => self.status,
            reg::CONFIG_GENERATION => self.generation,
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            reg::DEVICE_FEATURES_SEL => self.features_sel = value,
            reg::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            reg::DRIVER_FEATURES => self.take_features(value),
            reg::QUEUE_SEL => self.queue_sel = value,
            reg::QUEUE_NOTIFY => {
                if let Ok(queue) = u16::try_from(value) {
                    self.notify(queue);
                }
            }
            reg::INTERRUPT_ACK => {
                self.interrupt.status.fetch_and(!value, Ordering::SeqCst);
            }
            reg::STATUS => self.set_status(value),
            // Queues are set up between FEATURES_OK and DRIVER_OK (3.1.1).
            _ if self.status & (reg::FEATURES_OK | reg::DRIVER_OK) == reg::FEATURES_OK => {
                self.write_queue(offset, value);
            }
            _ => {}
        }
    }

    fn take_features(&mut self, value: u32) {
        if self.status & reg::FEATURES_OK != 0 {
            return;
        }
        let (shift, mask) = match self.driver_features_sel {
            0 => (0, !u64::from(u32::MAX)),
            1 => (32, u64::from(u32::MAX)),
            _ => return,
        };
        self.driver_features = self.driver_features & mask | u64::from(value) << shift;
    }

    fn write_queue(&mut self, offset: u64, value: u32) {
        let Some(queue) = usize::try_from(self.queue_sel)
            .ok()
            .and_then(|index| self.queues.get_mut(index))
        else {
            return;
        };
        match offset {
            // A size that is no power of two, or too large, is ignored: the queue stays invalid.
            reg::QUEUE_NUM => queue.set_size(u16::try_from(value).unwrap_or(0)),
            reg::QUEUE_READY => queue.set_ready(value == 1),
            reg::QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            reg::QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            reg::QUEUE_DRIVER_LOW => queue.set_avail_ring_address(Some(value), None),
            reg::QUEUE_DRIVER_HIGH => queue.set_avail_ring_address(None, Some(value)),
            reg::QUEUE_DEVICE_LOW => queue.set_used_ring_address(Some(value), None),
            reg::QUEUE_DEVICE_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }

    fn selected(&self) -> Option<&Queue> {
        self.queues.get(usize::try_from(self.queue_sel).ok()?)
    }
}

fn new_queues(device: &dyn Device) -> Vec<Queue> {
    let new = |size: &u16| Queue::new(*size).expect("our queue sizes are powers of two");
    device.queues().iter().map(new).collect()
}

fn half(word: u64, sel: u32) -> u32 {
    let half = match sel {
        0 => word & u64::from(u32::MAX),
        1 => word >> 32,
        _ => 0,
    };
    u32::try_from(half).expect("half of 64 bits")
}

impl BusDevice for Transport {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if offset >= reg::CONFIG {
            self.device.read_config(offset - reg::CONFIG, data);
        } else if let Ok(word) = <&mut [u8; 4]>::try_from(data) {
            // All other registers are read as words (4.2.2.2).
            *word = self.read_register(offset).to_le_bytes();
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let Ok(word) = <[u8; 4]>::try_from(data) {
            self.write_register(offset, u32::from_le_bytes(word));
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("kind", &self.device.kind())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
