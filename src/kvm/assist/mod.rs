//! The assist: instructions that a software KVM gives back, completed here.
//!
//! Some hosts offer `/dev/kvm` without VMX or SVM: KVM then interprets guest kernels with its
//! instruction emulator, which was made for device accesses and real mode and does not know
//! everything a kernel executes. Such an instruction comes back as KVM_EXIT_INTERNAL_ERROR,
//! suberror 1 (emulation failure). It is decoded, its effect is computed by pure functions
//! ([`integer`], [`xstate`]), and registers, memory or FPU state are set accordingly.

mod cpu;
mod fpu;
mod integer;
mod paging;
mod xstate;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use kvm_ioctls::VcpuFd;

use self::cpu::{Cpu, Trap};
use self::integer::Flags;
use self::xstate::Layout;
use super::error::Error;
use super::host::Kvm;
use super::memory::Mem;

/// #BP (Intel SDM 3A, 6.15).
const BREAKPOINT_VECTOR: u8 = 3;

/// What is needed to complete an instruction of any vCPU.
#[derive(Debug)]
pub struct Assist {
    layout: Layout,
}

impl Assist {
    /// The assist for vCPUs of this KVM.
    pub fn new(kvm: &Kvm) -> Self {
        Self {
            layout: Layout::of_host(kvm),
        }
    }

    /// Completes the instruction at RIP, whose bytes KVM gave, or which are read from memory; or has
    /// the guest take the exception that it raises.
    pub fn complete(&self, fd: &VcpuFd, mem: &Mem, bytes: &[u8]) -> Result<(), Error> {
        let mut cpu = Cpu::load(fd, mem)?;
        match self.step(&mut cpu, bytes) {
            Ok(()) => cpu.store(),
            Err(Trap::Fault(fault)) => cpu.raise(fault),
            Err(Trap::Failed(error)) => Err(error),
        }
    }

    fn step(&self, cpu: &mut Cpu<'_>, bytes: &[u8]) -> Result<(), Trap> {
        let rip = cpu.regs.rip;
        let mut instruction = decode(cpu, bytes);
        let fetched;
        let mut bytes = bytes;
        if instruction.is_invalid() {
            // KVM gives no bytes, or those of one page, where the instruction has some of the next.
            fetched = cpu.fetch()?;
            bytes = &fetched;
            instruction = decode(cpu, bytes);
        }
        cpu.regs.rip = instruction.next_ip();
        if self.execute(cpu, &instruction)? {
            return Ok(());
        }
        let shown: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Not its name: every start of husk would relocate the table of all names.
        let text = format!("{} at {rip:#x}", shown.join(" "));
        Err(Error::Instruction(text).into())
    }

    /// Applies one instruction's effect; false when it is none that we know.
    fn execute(&self, cpu: &mut Cpu<'_>, instruction: &Instruction) -> Result<bool, Trap> {
        match instruction.mnemonic() {
            // Hints, and fences of a machine whose kernel runs one instruction at a time.
            Mnemonic::Nop
            | Mnemonic::Endbr64
            | Mnemonic::Pause
            | Mnemonic::Wait
            | Mnemonic::Prefetcht0
            | Mnemonic::Prefetcht1
            | Mnemonic::Prefetcht2
            | Mnemonic::Prefetchnta
            | Mnemonic::Prefetchw
            | Mnemonic::Clflush
            | Mnemonic::Clflushopt
            | Mnemonic::Clwb
            | Mnemonic::Lfence
            | Mnemonic::Mfence
            | Mnemonic::Sfence
            | Mnemonic::Serialize => {}
            Mnemonic::Int3 => cpu.inject(BREAKPOINT_VECTOR, None)?,
            Mnemonic::Clac => cpu.regs.rflags &= !Flags::AC,
            Mnemonic::Stac => cpu.regs.rflags |= Flags::AC,
            Mnemonic::Xgetbv => xgetbv(cpu)?,
            Mnemonic::Rdrand | Mnemonic::Rdseed => random(cpu, instruction),
            Mnemonic::Fninit
            | Mnemonic::Fnclex
            | Mnemonic::Emms
            | Mnemonic::Ldmxcsr
            | Mnemonic::Stmxcsr
            | Mnemonic::Vldmxcsr
            | Mnemonic::Vstmxcsr => {
                fpu::execute(cpu, instruction)?;
            }
            Mnemonic::Xsave | Mnemonic::Xsave64 | Mnemonic::Xsaveopt | Mnemonic::Xsaveopt64 => {
                xstate::save(cpu, instruction, &self.layout, false)?;
            }
            Mnemonic::Xsavec | Mnemonic::Xsavec64 | Mnemonic::Xsaves | Mnemonic::Xsaves64 => {
                xstate::save(cpu, instruction, &self.layout, true)?;
            }
            Mnemonic::Xrstor | Mnemonic::Xrstor64 | Mnemonic::Xrstors | Mnemonic::Xrstors64 => {
                xstate::restore(cpu, instruction, &self.layout)?;
            }
            _ => return compute(cpu, instruction),
        }
        Ok(true)
    }
}

fn decode(cpu: &Cpu<'_>, bytes: &[u8]) -> Instruction {
    Decoder::with_ip(cpu.bitness(), bytes, cpu.regs.rip, DecoderOptions::NONE).decode()
}

/// An integer instruction: one or two sources, a destination, flags.
fn compute(cpu: &mut Cpu<'_>, instruction: &Instruction) -> Result<bool, Trap> {
    let Some(operation) = integer::operation(instruction.mnemonic()) else {
        return Ok(false);
    };
    let size = instruction.op0_register().size();
    if instruction.op0_kind() != OpKind::Register || !matches!(size, 2 | 4 | 8) {
        return Ok(false);
    }
    let sources = 1..instruction.op_count();
    let mut values = [0; 2];
    for (value, operand) in values.iter_mut().zip(sources) {
        *value = cpu.operand(instruction, operand)?;
    }
    let destination = cpu.register(instruction.op0_register());
    let (result, flags) = operation(integer::Input {
        destination,
        values,
        bits: size * 8,
    });
    cpu.set_register(instruction.op0_register(), result);
    flags.apply(&mut cpu.regs.rflags);
    Ok(true)
}

fn xgetbv(cpu: &mut Cpu<'_>) -> Result<(), Error> {
    let value = cpu.xcr0()?;
    cpu.set_register(Register::EAX, value & u64::from(u32::MAX));
    cpu.set_register(Register::EDX, value >> 32);
    Ok(())
}

/// Says "no randomness now" (CF = 0): the kernel has other sources, and ours is its virtio device.
fn random(cpu: &mut Cpu<'_>, instruction: &Instruction) {
    cpu.set_register(instruction.op0_register(), 0);
    Flags::CLEARED.apply(&mut cpu.regs.rflags);
}
