//! A virtual machine as KVM knows it: memory, interrupt chips, and the wires to its devices.

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{IoEventAddress, VcpuFd, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::EventFd;

use super::error::{Error, refused};
use super::host::Kvm;
use super::memory::Mem;
use super::vcpu::Vcpu;

/// Three pages that KVM on Intel needs for real-mode emulation, in the gap, below its end: nothing
/// of ours is there.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// One more such page.
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;

/// A virtual machine.
#[derive(Debug)]
pub struct Vm {
    fd: VmFd,
    // The regions stay mapped as long as KVM may write to them.
    mem: Mem,
}

impl Vm {
    /// A machine with `mem` as its memory, interrupt controllers and a timer.
    pub fn new(kvm: &Kvm, mem: Mem) -> Result<Self, Error> {
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
        let vm = Self { fd, mem };
        vm.map_memory()?;
        Ok(vm)
    }

    fn map_memory(&self) -> Result<(), Error> {
        for (slot, region) in (0..).zip(self.mem.iter()) {
            let mapping = kvm_userspace_memory_region {
                slot,
                guest_phys_addr: region.start_addr().raw_value(),
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
                flags: 0,
            };
            // SAFETY: the region is mapped as long as `self.mem`, which lives as long as the VM.
            let set = unsafe { self.fd.set_user_memory_region(mapping) };
            set.map_err(refused("KVM_SET_USER_MEMORY_REGION"))?;
        }
        Ok(())
    }

    /// Its memory.
    pub fn mem(&self) -> &Mem {
        &self.mem
    }

    /// A vCPU without CPUID, in its reset state.
    pub(super) fn bare_vcpu(&self) -> Result<VcpuFd, Error> {
        self.fd.create_vcpu(0).map_err(refused("KVM_CREATE_VCPU"))
    }

    /// A new vCPU, number `id` of `count`.
    pub fn create_vcpu(&self, kvm: &Kvm, id: u8, count: u8) -> Result<Vcpu, Error> {
        let fd = self
            .fd
            .create_vcpu(u64::from(id))
            .map_err(refused("KVM_CREATE_VCPU"))?;
        Vcpu::new(kvm, fd, self.mem.clone(), id, count)
    }

    /// Lets `trigger` raise interrupt line `gsi`.
    pub fn wire_interrupt(&self, trigger: &EventFd, gsi: u32) -> Result<(), Error> {
        self.fd
            .register_irqfd(trigger, gsi)
            .map_err(refused("KVM_IRQFD"))
    }

    /// Lets a guest write of `value` to `address` wake `event` without an exit.
    pub fn wire_notification(
        &self,
        event: &EventFd,
        address: u64,
        value: u32,
    ) -> Result<(), Error> {
        let address = IoEventAddress::Mmio(address);
        self.fd
            .register_ioevent(event, &address, value)
            .map_err(refused("KVM_IOEVENTFD"))
    }
}
