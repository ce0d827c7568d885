//! Which kind of KVM this is: measured, not guessed.

use std::io;
use std::sync::Arc;

use kvm_ioctls::VcpuExit;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::error::{Error, refused};
use super::host::Kvm;
use super::memory::Mem;
use super::vcpu::Vcpu;
use super::vm::Vm;

/// How guest kernels are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavour {
    /// By the processor, with VMX or SVM.
    Hardware,
    /// By KVM's instruction emulator; only guest user code runs natively.
    Software,
}

/// Where the probe lies in a machine that is there for nothing else.
const PAGE: u64 = 0;
/// `popcnt eax, eax; out 0x80, al`: a processor executes the first and leaves at the second; KVM's
/// emulator does not know the first.
const PROBE: [u8; 6] = [0xf3, 0x0f, 0xb8, 0xc0, 0xe6, 0x80];
/// CR0.PE: protected mode, which no processor needs to emulate.
const CR0_PE: u64 = 1;
/// Segment type: code, readable, accessed.
const CODE_TYPE: u8 = 11;

impl Flavour {
    /// Asks a machine of one page.
    pub fn measure(kvm: &Kvm) -> Result<Self, Error> {
        let mut vm = Vm::new(kvm)?;
        let page = GuestMemoryMmap::from_ranges(&[(GuestAddress(PAGE), 4096)]);
        let page = Arc::new(page.map_err(|source| Error::Memory {
            bytes: 4096,
            source: io::Error::other(source),
        })?);
        vm.add_memory(0, Arc::clone(&page))?;
        let mut vcpu = vm.create_vcpu(kvm, 0, 1)?;
        Self::of(&mut vcpu, &page, PAGE)
    }

    /// Runs two instructions on a vCPU that has not run yet, and sees who executes them. They lie at
    /// `address` of its machine's memory, below 4 GiB, where nothing is yet. Its registers and its memory are
    /// then as they were: a slot of memory only for this would cost more than all the rest of it.
    pub fn of(vcpu: &mut Vcpu, mem: &Mem, address: u64) -> Result<Self, Error> {
        let write = |bytes| {
            let written = mem.write_slice(bytes, GuestAddress(address));
            written.map_err(|source| Error::Memory {
                bytes: PROBE.len() as u64,
                source: io::Error::other(source),
            })
        };
        write(&PROBE)?;
        let (sregs, regs) = (vcpu.sregs()?, vcpu.regs()?);
        let mut flat = sregs;
        flat.cr0 |= CR0_PE;
        for segment in [&mut flat.cs, &mut flat.ds, &mut flat.es, &mut flat.ss] {
            (segment.base, segment.limit, segment.selector) = (0, 0xffff_ffff, 8);
            (segment.db, segment.g, segment.s, segment.present) = (1, 1, 1, 1);
            (segment.type_, segment.dpl) = (3, 0);
        }
        flat.cs.type_ = CODE_TYPE;
        vcpu.set_sregs(&flat)?;
        let mut start = regs;
        (start.rip, start.rflags) = (address, 2);
        vcpu.set_regs(&start)?;
        let flavour = match vcpu.fd().run().map_err(refused("KVM_RUN"))? {
            VcpuExit::InternalError => Self::Software,
            _ => Self::Hardware,
        };
        // An exit for a port is complete when the vCPU has been entered once more.
        vcpu.set_immediate_exit(true);
        let _interrupted = vcpu.fd().run();
        vcpu.set_immediate_exit(false);
        vcpu.set_sregs(&sregs)?;
        vcpu.set_regs(&regs)?;
        write(&[0; PROBE.len()])?;
        Ok(flavour)
    }
}
