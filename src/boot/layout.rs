//! Where everything lies in guest memory before the kernel runs.
//!
//! ```text
//! 0x00500  GDT                     0x20000  command line
//! 0x07000  zero page               0x9fc00  MP table (EBDA)
//! 0x09000  page tables             0xa0000  hole: no usable memory up to 1 MiB
//! 0x08ff0  stack, downwards        0xe0000  ACPI tables, in the hole
//!                                  1 MiB    the kernel
//!                                  high     the initial RAM disk
//! ```

use crate::kvm::memory::{HUGE_PAGE, ranges};

/// Global descriptor table.
pub const GDT: u64 = 0x500;
/// Empty interrupt descriptor table.
pub const IDT: u64 = 0x520;
/// The zero page, `struct boot_params`.
pub const ZERO_PAGE: u64 = 0x7000;
/// Top of the first stack.
pub const STACK: u64 = 0x8ff0;
/// Level 4 page table.
pub const PML4: u64 = 0x9000;
/// Level 3 page table.
pub const PDPT: u64 = 0xa000;
/// Level 2 page table: the first GiB in pages of 2 MiB.
pub const PD: u64 = 0xb000;
/// The command line.
pub const COMMAND_LINE: u64 = 0x20000;
/// Longest command line, terminator included (`COMMAND_LINE_SIZE` of Linux on x86).
pub const COMMAND_LINE_MAX: usize = 2048;
/// The seed of the kernel's random numbers, in the page of the command line.
pub const SEED: u64 = COMMAND_LINE + COMMAND_LINE_MAX as u64;
/// Extended BIOS data area: the kernel looks for the MP table in its first KiB.
pub const EBDA: u64 = 0x9fc00;
/// ACPI tables: where a BIOS would have its own, and where a kernel looks for the first of them.
pub const ACPI: u64 = 0xe_0000;
/// Memory goes on here.
pub const HIGH_MEMORY: u64 = 0x10_0000;
/// Local APICs (Intel SDM 3A, 11.4.1).
pub const LOCAL_APIC: u32 = 0xfee0_0000;
/// The I/O APIC (KVM's IOAPIC_DEFAULT_BASE_ADDRESS).
pub const IO_APIC: u32 = 0xfec0_0000;

/// Where huge pages pay: stretches of 2 MiB in which a boot of the embedded kernel touches most pages.
const HOT: [u64; 4] = [16 << 20, 26 << 20, 28 << 20, 30 << 20];
/// From this much memory on, two more: the kernel's tables grow with it, and are touched everywhere.
const LARGE: u64 = 1 << 30;
/// The first of the two: what the kernel allocates early and low.
const EARLY: u64 = 4 << 20;

/// Where huge pages pay in a machine with `memory` bytes. A hint: where it is wrong it costs memory, or time.
pub fn hot(memory: u64) -> Vec<u64> {
    let mut stretches = HOT.to_vec();
    if memory >= LARGE {
        stretches.push(EARLY);
        // The second, the end of memory: tables of hashes, allocated from the top down.
        let last = ranges(memory).last().map(|(start, len)| start + len);
        let whole = last.map(|end| end / HUGE_PAGE as u64 - 1);
        stretches.extend(whole.map(|number| number * HUGE_PAGE as u64));
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_machine_has_huge_pages_at_its_end() {
        assert_eq!(hot(128 << 20), HOT);
        assert_eq!(hot(1 << 30)[4..], [EARLY, (1 << 30) - (2 << 20)]);
        // What is beyond the gap ends where memory does; a piece of a stretch is none.
        let gib = 1u64 << 30;
        assert_eq!(hot(5 * gib + 4096)[5], 6 * gib - (2 << 20));
    }
}
