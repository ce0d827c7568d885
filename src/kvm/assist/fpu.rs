//! x87 and SSE control instructions.

use iced_x86::{Instruction, Mnemonic};

use super::cpu::{Cpu, Trap};
use crate::kvm::error::refused;

/// Control word after FNINIT (SDM 1, 8.1.5).
const INITIAL_CONTROL: u16 = 0x37f;

/// Status word bits that FNCLEX keeps: condition codes and the top of the stack.
const KEPT_STATUS: u16 = 0x7f00;

/// Applies FNINIT, FNCLEX, EMMS, LDMXCSR or STMXCSR.
pub fn execute(cpu: &mut Cpu<'_>, instruction: &Instruction) -> Result<(), Trap> {
    let mut fpu = cpu.fd.get_fpu().map_err(refused("KVM_GET_FPU"))?;
    match instruction.mnemonic() {
        Mnemonic::Fninit => {
            fpu.fcw = INITIAL_CONTROL;
            fpu.fsw = 0;
            fpu.ftwx = 0;
            fpu.last_opcode = 0;
            fpu.last_ip = 0;
            fpu.last_dp = 0;
        }
        Mnemonic::Fnclex => fpu.fsw &= KEPT_STATUS,
        Mnemonic::Emms => fpu.ftwx = 0,
        Mnemonic::Stmxcsr | Mnemonic::Vstmxcsr => {
            return cpu.write(cpu.address(instruction)?, &fpu.mxcsr.to_le_bytes());
        }
        _ => {
            let mut bytes = [0; 4];
            cpu.read(cpu.address(instruction)?, &mut bytes)?;
            fpu.mxcsr = u32::from_le_bytes(bytes);
        }
    }
    let set = cpu.fd.set_fpu(&fpu);
    Ok(set.map_err(refused("KVM_SET_FPU"))?)
}
