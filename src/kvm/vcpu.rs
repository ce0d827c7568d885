//! A vCPU: runs guest code until something only the host can do.

use std::sync::Arc;

use kvm_bindings::{
    KVM_INTERNAL_ERROR_EMULATION, KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES, Msrs,
    kvm_lapic_state, kvm_mp_state, kvm_regs, kvm_sregs,
};
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::assist::Assist;
use super::bus::Bus;
use super::error::{Error, refused};
use super::exits::{self, Userspace};
use super::host::Kvm;
use super::{cpuid, memory::Mem};

/// Longest instruction of x86, bytes.
const MAX_INSTRUCTION: usize = 15;

/// Why [`Vcpu::run`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The guest needed a device, an assist, or nothing; it can go on.
    Handled,
    /// A signal asked for our attention.
    Kicked,
    /// The guest shut down: a triple fault, or a request to power off.
    Shutdown,
}

/// One virtual CPU. It belongs to the thread that runs it.
#[derive(Debug)]
pub struct Vcpu {
    fd: VcpuFd,
    assist: Assist,
    id: u8,
    mem: Mem,
    ports: Arc<Bus>,
    mmio: Arc<Bus>,
    /// Where somebody asked.
    exits: Option<Arc<Userspace>>,
}

impl Vcpu {
    pub(super) fn new(kvm: &Kvm, fd: VcpuFd, id: u8, count: u8) -> Result<Self, Error> {
        let cpuid = cpuid::build(kvm, id, count)?;
        fd.set_cpuid2(&cpuid).map_err(refused("KVM_SET_CPUID2"))?;
        Ok(Self {
            fd,
            assist: Assist::new(kvm),
            id,
            mem: Arc::default(),
            ports: Arc::default(),
            mmio: Arc::default(),
            exits: None,
        })
    }

    /// Its number.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// Gives it its memory, and the buses that its port and memory accesses go to.
    pub fn attach(&mut self, mem: Mem, ports: Arc<Bus>, mmio: Arc<Bus>) {
        self.mem = mem;
        self.ports = ports;
        self.mmio = mmio;
    }

    /// Counts its exits from now on.
    pub(super) fn count_exits(&mut self, counters: Arc<Userspace>) {
        self.exits = Some(counters);
    }

    /// Its TSC's frequency, kHz, where KVM says.
    pub fn tsc_khz(&self) -> Option<u32> {
        self.fd.get_tsc_khz().ok().filter(|khz| *khz > 0)
    }

    /// General registers.
    pub fn regs(&self) -> Result<kvm_regs, Error> {
        self.fd.get_regs().map_err(refused("KVM_GET_REGS"))
    }

    /// Sets general registers.
    pub fn set_regs(&self, regs: &kvm_regs) -> Result<(), Error> {
        self.fd.set_regs(regs).map_err(refused("KVM_SET_REGS"))
    }

    /// Segment and control registers.
    pub fn sregs(&self) -> Result<kvm_sregs, Error> {
        self.fd.get_sregs().map_err(refused("KVM_GET_SREGS"))
    }

    /// Sets segment and control registers.
    pub fn set_sregs(&self, sregs: &kvm_sregs) -> Result<(), Error> {
        self.fd.set_sregs(sregs).map_err(refused("KVM_SET_SREGS"))
    }

    /// Sets model-specific registers.
    pub fn set_msrs(&self, msrs: &Msrs) -> Result<(), Error> {
        self.fd
            .set_msrs(msrs)
            .map(drop)
            .map_err(refused("KVM_SET_MSRS"))
    }

    /// The local APIC's registers.
    pub fn lapic(&self) -> Result<kvm_lapic_state, Error> {
        self.fd.get_lapic().map_err(refused("KVM_GET_LAPIC"))
    }

    /// Sets the local APIC's registers.
    pub fn set_lapic(&self, lapic: &kvm_lapic_state) -> Result<(), Error> {
        self.fd.set_lapic(lapic).map_err(refused("KVM_SET_LAPIC"))
    }

    /// Sets whether it runs, or waits for its first interrupt.
    pub fn set_mp_state(&self, mp_state: u32) -> Result<(), Error> {
        self.fd
            .set_mp_state(kvm_mp_state { mp_state })
            .map_err(refused("KVM_SET_MP_STATE"))
    }

    /// Makes the next [`Vcpu::run`] complete what is pending and come back at once.
    pub fn set_immediate_exit(&mut self, on: bool) {
        self.fd.set_kvm_immediate_exit(u8::from(on));
    }

    /// Its own descriptor.
    pub(super) fn fd(&mut self) -> &mut VcpuFd {
        &mut self.fd
    }

    /// Runs until the next exit, and serves it where the bus or the assist can.
    pub fn run(&mut self) -> Result<Exit, Error> {
        let exit = self.fd.run();
        if let Some(counters) = &self.exits {
            exits::count(counters, &exit);
        }
        match exit {
            Ok(VcpuExit::IoOut(port, data)) => self.ports.write(u64::from(port), data),
            Ok(VcpuExit::IoIn(port, data)) => self.ports.read(u64::from(port), data),
            Ok(VcpuExit::MmioRead(address, data)) => self.mmio.read(address, data),
            Ok(VcpuExit::MmioWrite(address, data)) => self.mmio.write(address, data),
            Ok(VcpuExit::InternalError) => self.complete_instruction()?,
            Ok(VcpuExit::Shutdown | VcpuExit::SystemEvent(..)) => return Ok(Exit::Shutdown),
            Ok(VcpuExit::Hlt | VcpuExit::IrqWindowOpen) => {}
            Ok(VcpuExit::Intr) => return Ok(Exit::Kicked),
            Ok(VcpuExit::FailEntry(reason, cpu)) => {
                let text = format!(
                    "vCPU {} cannot be entered: reason {reason:#x} on CPU {cpu}",
                    self.id
                );
                return Err(Error::Stopped(text));
            }
            Ok(other) => return Err(Error::Stopped(format!("unexpected exit {other:?}"))),
            Err(error) if error.errno() == libc::EINTR => return Ok(Exit::Kicked),
            Err(error) if error.errno() == libc::EAGAIN => {}
            Err(error) => return Err(refused("KVM_RUN")(error)),
        }
        Ok(Exit::Handled)
    }

    /// KVM could not emulate an instruction: do it here.
    fn complete_instruction(&mut self) -> Result<(), Error> {
        let (suberror, bytes) = self.failed_instruction();
        if suberror != KVM_INTERNAL_ERROR_EMULATION {
            return Err(Error::Stopped(format!("internal error {suberror} of KVM")));
        }
        self.assist.complete(&self.fd, &self.mem, &bytes)
    }

    /// The internal error's kind, and the bytes at RIP where KVM gives them.
    fn failed_instruction(&mut self) -> (u32, Vec<u8>) {
        let run = self.fd.get_kvm_run();
        // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR, for which this is the union's member.
        let failure = unsafe { run.__bindgen_anon_1.emulation_failure };
        let has_bytes = failure.ndata >= 1
            && failure.flags & u64::from(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0;
        if failure.suberror != KVM_INTERNAL_ERROR_EMULATION || !has_bytes {
            return (failure.suberror, Vec::new());
        }
        // SAFETY: the union has one member, plain bytes.
        let instruction = unsafe { failure.__bindgen_anon_1.__bindgen_anon_1 };
        let len = usize::from(instruction.insn_size).min(MAX_INSTRUCTION);
        (failure.suberror, instruction.insn_bytes[..len].to_vec())
    }
}
