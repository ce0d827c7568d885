//! A virtual machine as KVM knows it: memory, interrupt chips, and the wires to its devices.

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::sync::Arc;

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{IoEventAddress, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::EventFd;

use super::error::{Error, refused};
use super::host::Kvm;
use super::line::{Line, Lines};
use super::memory::Mem;
use super::vcpu::Vcpu;
use crate::sys::linger::Linger;

/// Three pages that KVM on Intel needs for real-mode emulation, in the gap, below its end: nothing
/// of ours is there.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// One more such page.
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;

/// A virtual machine.
#[derive(Debug)]
pub struct Vm {
    fd: Arc<VmFd>,
    // The regions stay mapped as long as KVM may write to them.
    mem: Vec<Mem>,
    _linger: Option<Linger>,
}

impl Vm {
    /// A machine with interrupt controllers and a timer, and no memory yet. KVM may take some 10 ms
    /// for it, in which it computes nothing.
    pub fn new(kvm: &Kvm) -> Result<Self, Error> {
        let fd = kvm.inner.create_vm().map_err(refused("KVM_CREATE_VM"))?;
        fd.set_identity_map_address(IDENTITY_MAP_ADDRESS)
            .map_err(refused("KVM_SET_IDENTITY_MAP_ADDR"))?;
        fd.set_tss_address(TSS_ADDRESS)
            .map_err(refused("KVM_SET_TSS_ADDR"))?;
        fd.create_irq_chip()
            .map_err(refused("KVM_CREATE_IRQCHIP"))?;
        let pit = kvm_pit_config {
            flags: KVM_PIT_SPEAKER_DUMMY,
            ..Default::default()
        };
        fd.create_pit2(pit).map_err(refused("KVM_CREATE_PIT2"))?;
        // SAFETY: the descriptor is open as long as `fd`.
        let file = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        Ok(Self {
            _linger: Linger::over(file).ok(),
            fd: Arc::new(fd),
            mem: Vec::new(),
        })
    }

    /// Gives it memory, in slots from `first` on.
    pub fn add_memory(&mut self, first: u32, mem: Mem) -> Result<(), Error> {
        // Held before KVM knows of it.
        self.mem.push(Arc::clone(&mem));
        for (slot, region) in (first..).zip(mem.iter()) {
            let mapping = kvm_userspace_memory_region {
                slot,
                guest_phys_addr: region.start_addr().raw_value(),
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
                flags: 0,
            };
            // SAFETY: it is memory of one of `self.mem`, which live as long as the VM.
            let set = unsafe { self.fd.set_user_memory_region(mapping) };
            set.map_err(refused("KVM_SET_USER_MEMORY_REGION"))?;
        }
        Ok(())
    }

    /// A new vCPU, number `id` of `count`.
    pub fn create_vcpu(&self, kvm: &Kvm, id: u8, count: u8) -> Result<Vcpu, Error> {
        let fd = self
            .fd
            .create_vcpu(u64::from(id))
            .map_err(refused("KVM_CREATE_VCPU"))?;
        Vcpu::new(kvm, fd, id, count)
    }

    /// Its own descriptor.
    pub(super) fn fd(&self) -> &VmFd {
        &self.fd
    }

    /// Interrupt line number `gsi`.
    pub fn line(&self, gsi: u32) -> Box<dyn Line> {
        self.lines().line(gsi)
    }

    /// All of its lines, for who needs one later.
    pub fn lines(&self) -> Lines {
        Lines(Arc::clone(&self.fd))
    }

    /// Lets a guest write of `value` to `address` wake `event` without an exit.
    pub fn wire_notification(
        &self,
        event: BorrowedFd<'_>,
        address: u64,
        value: u32,
    ) -> Result<(), Error> {
        let address = IoEventAddress::Mmio(address);
        let event = borrowed(event);
        self.fd
            .register_ioevent(&event, &address, value)
            .map_err(refused("KVM_IOEVENTFD"))
    }

    /// Lets `event` raise interrupt line number `gsi` without this process: for who has no other way ([`Line`]).
    pub fn wire_interrupt(&self, event: BorrowedFd<'_>, gsi: u32) -> Result<(), Error> {
        self.fd
            .register_irqfd(&borrowed(event), gsi)
            .map_err(refused("KVM_IRQFD"))
    }
}

/// The same descriptor, not to be closed.
fn borrowed(event: BorrowedFd<'_>) -> ManuallyDrop<EventFd> {
    // SAFETY: the descriptor is open as long as whoever borrowed it needs it, and not closed by this.
    ManuallyDrop::new(unsafe { EventFd::from_raw_fd(event.as_raw_fd()) })
}
