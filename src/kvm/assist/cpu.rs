//! The vCPU as an instruction sees it: registers, and memory at linear addresses.

use std::ops::Range;

use iced_x86::{Instruction, OpKind, Register};
use kvm_bindings::{kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress};

use super::paging::{Access, Fault, Paging};
use crate::kvm::error::{Error, refused};
use crate::kvm::memory::Mem;

const PAGE: u64 = 4096;

/// Control register bits (SDM 3A, 2.5) and EFER (2.2.1).
const CR0_WP: u64 = 1 << 16;
const CR4_LA57: u64 = 1 << 12;
const EFER_LMA: u64 = 1 << 10;

/// Why an instruction has no effect.
#[derive(Debug)]
pub enum Trap {
    /// The guest takes an exception.
    Fault(Fault),
    /// The machine cannot go on.
    Failed(Error),
}

impl From<Error> for Trap {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Fault> for Trap {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Longest instruction of x86, bytes.
const MAX_INSTRUCTION: usize = 15;

/// A vCPU between two instructions.
#[derive(Debug)]
pub struct Cpu<'a> {
    /// The vCPU.
    pub fd: &'a VcpuFd,
    /// General registers, as they will be.
    pub regs: kvm_regs,
    sregs: kvm_sregs,
    mem: &'a Mem,
}

impl<'a> Cpu<'a> {
    /// Reads the registers.
    pub fn load(fd: &'a VcpuFd, mem: &'a Mem) -> Result<Self, Error> {
        let regs = fd.get_regs().map_err(refused("KVM_GET_REGS"))?;
        let sregs = fd.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
        Ok(Self {
            fd,
            regs,
            sregs,
            mem,
        })
    }

    /// Writes the registers back.
    pub fn store(&self) -> Result<(), Error> {
        self.fd
            .set_regs(&self.regs)
            .map_err(refused("KVM_SET_REGS"))
    }

    /// 64, 32 or 16: what the code segment says.
    pub fn bitness(&self) -> u32 {
        match (self.sregs.cs.l, self.sregs.cs.db) {
            (1, _) => 64,
            (_, 1) => 32,
            _ => 16,
        }
    }

    /// The bytes at RIP: as many as the longest instruction has, or as its page has when the next
    /// one is not there.
    pub fn fetch(&self) -> Result<Vec<u8>, Trap> {
        let mut bytes = vec![0; MAX_INSTRUCTION];
        if self.read(self.regs.rip, &mut bytes).is_err() {
            let left_in_page = usize::try_from(PAGE - self.regs.rip % PAGE).unwrap_or(usize::MAX);
            bytes.truncate(left_in_page);
            self.read(self.regs.rip, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Has the guest take an exception where the instruction is.
    pub fn raise(&self, fault: Fault) -> Result<(), Error> {
        if let Some(address) = fault.address {
            let sregs = kvm_sregs {
                cr2: address,
                ..self.sregs
            };
            let set = self.fd.set_sregs(&sregs);
            set.map_err(refused("KVM_SET_SREGS"))?;
        }
        self.inject(fault.vector, Some(fault.code))
    }

    /// Has the guest take an exception as soon as it runs.
    pub fn inject(&self, vector: u8, code: Option<u32>) -> Result<(), Error> {
        let events = self.fd.get_vcpu_events();
        let mut events = events.map_err(refused("KVM_GET_VCPU_EVENTS"))?;
        events.exception.injected = 1;
        events.exception.nr = vector;
        events.exception.has_error_code = u8::from(code.is_some());
        events.exception.error_code = code.unwrap_or(0);
        let set = self.fd.set_vcpu_events(&events);
        set.map_err(refused("KVM_SET_VCPU_EVENTS"))
    }

    /// XCR0: the state components in use.
    pub fn xcr0(&self) -> Result<u64, Error> {
        let xcrs = self.fd.get_xcrs().map_err(refused("KVM_GET_XCRS"))?;
        let used = usize::try_from(xcrs.nr_xcrs)
            .unwrap_or(0)
            .min(xcrs.xcrs.len());
        Ok(xcrs.xcrs[..used]
            .iter()
            .find(|x| x.xcr == 0)
            .map_or(1, |x| x.value))
    }

    /// The value of a general register of any width.
    pub fn register(&self, register: Register) -> u64 {
        let full = *self.slot(register);
        match register.size() {
            4 => full & 0xffff_ffff,
            2 => full & 0xffff,
            1 if is_high_byte(register) => full >> 8 & 0xff,
            1 => full & 0xff,
            _ => full,
        }
    }

    /// Sets a general register of 2, 4 or 8 bytes; 4 bytes clear the upper half (SDM 1, 3.4.1.1).
    pub fn set_register(&mut self, register: Register, value: u64) {
        let full = *self.slot(register);
        let new = match register.size() {
            8 => value,
            4 => value & 0xffff_ffff,
            _ => full & !0xffff | value & 0xffff,
        };
        *self.slot_mut(register) = new;
    }

    /// The value of an operand: register, memory or immediate.
    pub fn operand(&self, instruction: &Instruction, operand: u32) -> Result<u64, Trap> {
        match instruction.op_kind(operand) {
            OpKind::Register => Ok(self.register(instruction.op_register(operand))),
            OpKind::Memory => {
                let size = instruction.memory_size().size().min(8);
                let mut bytes = [0; 8];
                self.read(self.address(instruction)?, &mut bytes[..size])?;
                Ok(u64::from_le_bytes(bytes))
            }
            _ => Ok(instruction.immediate(operand)),
        }
    }

    /// The linear address of the memory operand.
    pub fn address(&self, instruction: &Instruction) -> Result<u64, Error> {
        let operand = (0..instruction.op_count())
            .find(|operand| instruction.op_kind(*operand) == OpKind::Memory)
            .ok_or_else(|| Error::Instruction("one without a memory operand".to_owned()))?;
        let address = instruction.virtual_address(operand, 0, |register, _, _| {
            Some(match register {
                // In 64-bit mode the bases of the other segments are zero (SDM 1, 3.4.2.1).
                Register::FS => self.sregs.fs.base,
                Register::GS => self.sregs.gs.base,
                Register::DS | Register::ES | Register::SS | Register::CS => 0,
                other => self.register(other),
            })
        });
        address.ok_or_else(|| Error::Instruction("one without an address".to_owned()))
    }

    /// Reads guest memory at a linear address.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Trap> {
        let parts = self.parts(address, bytes.len(), Access::Read)?;
        for (physical, range) in parts {
            let read = self.mem.read_slice(&mut bytes[range], physical);
            read.map_err(|_| no_memory(address))?;
        }
        Ok(())
    }

    /// Writes guest memory at a linear address: all of it, or nothing where a part of it faults.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Trap> {
        let parts = self.parts(address, bytes.len(), Access::Write)?;
        for (physical, range) in parts {
            let written = self.mem.write_slice(&bytes[range], physical);
            written.map_err(|_| no_memory(address))?;
        }
        Ok(())
    }

    /// Splits an access at page bounds and translates each part.
    fn parts(
        &self,
        address: u64,
        len: usize,
        access: Access,
    ) -> Result<Vec<(GuestAddress, Range<usize>)>, Trap> {
        let mut parts = Vec::new();
        let mut done = 0;
        while done < len {
            let linear = address.wrapping_add(done as u64);
            let in_page = usize::try_from(PAGE - linear % PAGE).unwrap_or(usize::MAX);
            let part = in_page.min(len - done);
            parts.push((self.translate(linear, access)?, done..done + part));
            done += part;
        }
        Ok(parts)
    }

    fn translate(&self, linear: u64, access: Access) -> Result<GuestAddress, Trap> {
        let sregs = &self.sregs;
        if sregs.efer & EFER_LMA != 0 {
            let paging = Paging {
                root: sregs.cr3,
                levels: if sregs.cr4 & CR4_LA57 != 0 { 5 } else { 4 },
                write_protect: sregs.cr0 & CR0_WP != 0,
                user: sregs.cs.dpl == 3,
            };
            return Ok(paging.translate(self.mem, linear, access)?);
        }
        let translated = self.fd.translate_gva(linear);
        let translated = translated.map_err(refused("KVM_TRANSLATE"))?;
        match translated.valid {
            0 => Err(no_memory(linear).into()),
            _ => Ok(GuestAddress(translated.physical_address)),
        }
    }

    fn slot(&self, register: Register) -> &u64 {
        let regs = &self.regs;
        match register.full_register() {
            Register::RAX => &regs.rax,
            Register::RBX => &regs.rbx,
            Register::RCX => &regs.rcx,
            Register::RDX => &regs.rdx,
            Register::RSI => &regs.rsi,
            Register::RDI => &regs.rdi,
            Register::RSP => &regs.rsp,
            Register::RBP => &regs.rbp,
            Register::R8 => &regs.r8,
            Register::R9 => &regs.r9,
            Register::R10 => &regs.r10,
            Register::R11 => &regs.r11,
            Register::R12 => &regs.r12,
            Register::R13 => &regs.r13,
            Register::R14 => &regs.r14,
            Register::R15 => &regs.r15,
            // RIP-relative operands come with RIP in their displacement.
            _ => &0,
        }
    }

    fn slot_mut(&mut self, register: Register) -> &mut u64 {
        let regs = &mut self.regs;
        match register.full_register() {
            Register::RAX => &mut regs.rax,
            Register::RBX => &mut regs.rbx,
            Register::RCX => &mut regs.rcx,
            Register::RDX => &mut regs.rdx,
            Register::RSI => &mut regs.rsi,
            Register::RDI => &mut regs.rdi,
            Register::RSP => &mut regs.rsp,
            Register::RBP => &mut regs.rbp,
            Register::R8 => &mut regs.r8,
            Register::R9 => &mut regs.r9,
            Register::R10 => &mut regs.r10,
            Register::R11 => &mut regs.r11,
            Register::R12 => &mut regs.r12,
            Register::R13 => &mut regs.r13,
            Register::R14 => &mut regs.r14,
            _ => &mut regs.r15,
        }
    }
}

/// Page tables that lead to a device, or to nothing.
fn no_memory(linear: u64) -> Error {
    Error::Instruction(format!("an operand at {linear:#x} is not memory"))
}

fn is_high_byte(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::BH | Register::CH | Register::DH
    )
}
