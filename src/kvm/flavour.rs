//! Which kind of KVM this is: measured, not guessed.

use std::sync::Arc;

use kvm_ioctls::VcpuExit;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::error::{Error, refused};
use super::host::Kvm;
use super::memory::Mem;

/// How guest kernels are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// By the processor, with VMX or SVM.
    Hardware,
    /// By KVM's instruction emulator; only guest user code runs natively.
    Software,
}

/// Where the probe lies.
const CODE: u64 = 0x1000;
/// `popcnt eax, eax; out 0x80, al`: a processor executes the first and leaves at the second; KVM's
/// emulator does not know the first.
const PROBE: [u8; 6] = [0xf3, 0x0f, 0xb8, 0xc0, 0xe6, 0x80];
/// CR0.PE: protected mode, which no processor needs to emulate.
const CR0_PE: u64 = 1;
/// Segment type: code, readable, accessed.
const CODE_TYPE: u8 = 11;

impl Flavour {
    /// Runs two instructions in a machine of one page and sees who executes them. Takes about a
    /// millisecond.
    pub fn measure(kvm: &Kvm) -> Result<Self, Error> {
        let len = 4096 * 2;
        let mem = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), len)]);
        let mem: Mem = Arc::new(mem.map_err(|source| Error::Memory {
            bytes: len as u64,
            source,
        })?);
        let written = mem.write_slice(&PROBE, GuestAddress(CODE));
        written.expect("the probe is shorter than its page");
        let vm = super::vm::Vm::new(kvm, mem)?;
        let mut vcpu = vm.bare_vcpu()?;
        let mut sregs = vcpu.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
        sregs.cr0 |= CR0_PE;
        for segment in [&mut sregs.cs, &mut sregs.ds, &mut sregs.es, &mut sregs.ss] {
            (segment.base, segment.limit, segment.selector) = (0, 0xffff_ffff, 8);
            (segment.db, segment.g, segment.s, segment.present) = (1, 1, 1, 1);
            (segment.type_, segment.dpl) = (3, 0);
        }
        sregs.cs.type_ = CODE_TYPE;
        vcpu.set_sregs(&sregs).map_err(refused("KVM_SET_SREGS"))?;
        let mut regs = vcpu.get_regs().map_err(refused("KVM_GET_REGS"))?;
        (regs.rip, regs.rflags) = (CODE, 2);
        vcpu.set_regs(&regs).map_err(refused("KVM_SET_REGS"))?;
        match vcpu.run().map_err(refused("KVM_RUN"))? {
            VcpuExit::InternalError => Ok(Self::Software),
            _ => Ok(Self::Hardware),
        }
    }
}
