//! The first state of a vCPU: long mode, paging on, at the kernel's entry.

use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED, Msrs, kvm_lapic_state, kvm_msr_entry,
    kvm_regs, kvm_segment,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::error::Error;
use super::layout::{GDT, IDT, PD, PDPT, PML4, STACK, ZERO_PAGE};
use crate::kvm::Vcpu;

/// Control register bits (Intel SDM 3A, 2.5) and EFER (2.2.1).
const CR0_PE: u64 = 1;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Page table entry: present and writable; and 2 MiB large.
const PRESENT_WRITABLE: u64 = 3;
const LARGE: u64 = 1 << 7;
/// Entries of one page table.
const ENTRIES: u64 = 512;
/// RFLAGS bit 1 is always set.
const RFLAGS_RESERVED: u64 = 2;
/// Segment selectors and types (boot.rst: __BOOT_CS and __BOOT_DS).
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
const CODE_TYPE: u8 = 11;
const DATA_TYPE: u8 = 3;
/// IA32_MISC_ENABLE, and fast strings in it.
const MSR_MISC_ENABLE: u32 = 0x1a0;
const FAST_STRINGS: u64 = 1;
/// MTRRdefType: enabled, write-back.
const MSR_MTRR_DEFAULT: u32 = 0x2ff;
const MTRR_WRITE_BACK: u64 = 1 << 11 | 6;
/// Local vector table registers and their delivery modes (SDM 3A, 11.5.1).
const LVT_LINT0: usize = 0x350;
const LVT_LINT1: usize = 0x360;
const DELIVER_NMI: u32 = 4 << 8;
const DELIVER_EXT_INT: u32 = 7 << 8;

/// Prepares vCPU 0 to enter the kernel at `entry`; the others wait to be woken by it.
pub fn enter(mem: &GuestMemoryMmap, vcpu: &Vcpu, entry: u64) -> Result<(), Error> {
    set_msrs(vcpu)?;
    set_local_interrupts(vcpu)?;
    if vcpu.id() != 0 {
        return Ok(vcpu.set_mp_state(KVM_MP_STATE_UNINITIALIZED)?);
    }
    write_tables(mem).map_err(|error| Error::Load(error.to_string()))?;
    set_long_mode(vcpu)?;
    vcpu.set_regs(&kvm_regs {
        rip: entry,
        rsi: ZERO_PAGE,
        rsp: STACK,
        rbp: STACK,
        rflags: RFLAGS_RESERVED,
        ..Default::default()
    })?;
    Ok(vcpu.set_mp_state(KVM_MP_STATE_RUNNABLE)?)
}

/// Segment descriptors, and page tables that map the first GiB onto itself.
fn write_tables(mem: &GuestMemoryMmap) -> Result<(), vm_memory::GuestMemoryError> {
    // Null, unused, flat 64-bit code, flat data (SDM 3A, 3.4.5).
    let descriptors: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
    for (address, descriptor) in (GDT..).step_by(8).zip(descriptors) {
        mem.write_obj(descriptor, GuestAddress(address))?;
    }
    mem.write_obj(0u64, GuestAddress(IDT))?;
    mem.write_obj(PDPT | PRESENT_WRITABLE, GuestAddress(PML4))?;
    mem.write_obj(PD | PRESENT_WRITABLE, GuestAddress(PDPT))?;
    for index in 0..ENTRIES {
        let entry = index << 21 | PRESENT_WRITABLE | LARGE;
        mem.write_obj(entry, GuestAddress(PD + index * 8))?;
    }
    Ok(())
}

fn set_long_mode(vcpu: &Vcpu) -> Result<(), Error> {
    let mut sregs = vcpu.sregs()?;
    let code = segment(CODE_SELECTOR, CODE_TYPE, true);
    let data = segment(DATA_SELECTOR, DATA_TYPE, false);
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    (sregs.gdt.base, sregs.gdt.limit) = (GDT, 31);
    (sregs.idt.base, sregs.idt.limit) = (IDT, 7);
    sregs.cr3 = PML4;
    sregs.cr4 |= CR4_PAE;
    sregs.cr0 |= CR0_PE | CR0_PG;
    sregs.efer |= EFER_LME | EFER_LMA;
    Ok(vcpu.set_sregs(&sregs)?)
}

fn segment(selector: u16, type_: u8, code: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: u8::from(!code),
        s: 1,
        l: u8::from(code),
        g: 1,
        ..Default::default()
    }
}

fn set_msrs(vcpu: &Vcpu) -> Result<(), Error> {
    let entry = |index, data| kvm_msr_entry {
        index,
        data,
        ..Default::default()
    };
    let entries = [
        entry(MSR_MISC_ENABLE, FAST_STRINGS),
        entry(MSR_MTRR_DEFAULT, MTRR_WRITE_BACK),
    ];
    let msrs = Msrs::from_entries(&entries).expect("two entries are fewer than the most");
    Ok(vcpu.set_msrs(&msrs)?)
}

/// LINT0 takes the 8259's interrupts, LINT1 the NMI, as firmware leaves them.
fn set_local_interrupts(vcpu: &Vcpu) -> Result<(), Error> {
    let mut lapic = vcpu.lapic()?;
    set_delivery(&mut lapic, LVT_LINT0, DELIVER_EXT_INT);
    set_delivery(&mut lapic, LVT_LINT1, DELIVER_NMI);
    Ok(vcpu.set_lapic(&lapic)?)
}

fn set_delivery(lapic: &mut kvm_lapic_state, register: usize, mode: u32) {
    let bytes = lapic.regs.iter_mut().skip(register).take(4);
    for (byte, value) in bytes.zip(mode.to_le_bytes()) {
        *byte = i8::from_le_bytes([value]);
    }
}
