//! The MP table: CPUs and interrupt lines without ACPI (Intel MultiProcessor Specification 1.4).

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::error::Error;
use super::layout::{EBDA, IO_APIC, LOCAL_APIC};

/// Specification 1.4, in the floating pointer and the header.
const REVISION: u8 = 4;
/// Version of KVM's local and I/O APIC.
const APIC_VERSION: u8 = 0x14;
/// Interrupt lines of the I/O APIC that husk names.
const LINES: u8 = 24;
/// Bytes of the floating pointer structure.
const POINTER_LEN: usize = 16;
/// Bytes of the configuration table's header.
const HEADER_LEN: usize = 44;
/// Processor entry flags: usable; and the first to run.
const CPU_ENABLED: u8 = 1;
const CPU_BOOTSTRAP: u8 = 2;
/// Interrupt types: vectored, non-maskable, and by the external 8259.
const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;

/// Writes the table for `cpus` CPUs into the EBDA.
pub fn write(mem: &GuestMemoryMmap, cpus: u8) -> Result<(), Error> {
    let table = build(cpus);
    mem.write_slice(&table, GuestAddress(EBDA))
        .map_err(|error| Error::Load(error.to_string()))
}

/// Floating pointer, header, entries.
fn build(cpus: u8) -> Vec<u8> {
    let io_apic = cpus;
    let mut entries: Vec<Vec<u8>> = (0..cpus).map(processor).collect();
    entries.push([&[1, 0][..], b"ISA   "].concat());
    entries.push([&[2, io_apic, 0x11, 1][..], &IO_APIC.to_le_bytes()].concat());
    entries.extend((0..LINES).map(|line| vec![3, INT, 0, 0, 0, line, io_apic, line]));
    // Both local interrupt pins of every CPU.
    entries.push(vec![4, EXT_INT, 0, 0, 0, 0, 0xff, 0]);
    entries.push(vec![4, NMI, 0, 0, 0, 0, 0xff, 1]);
    let table = with_checksum(header(&entries), &entries.concat());
    [pointer(), table].concat()
}

fn processor(id: u8) -> Vec<u8> {
    let flags = if id == 0 {
        CPU_ENABLED | CPU_BOOTSTRAP
    } else {
        CPU_ENABLED
    };
    // Signature: family 6; features: FPU and APIC.
    let mut entry = vec![0, id, APIC_VERSION, flags, 0, 6, 0, 0, 1, 2, 0, 0];
    entry.resize(20, 0);
    entry
}

fn pointer() -> Vec<u8> {
    let table = u32::try_from(EBDA).expect("the layout is below 4 GiB") + 16;
    let mut pointer = [&b"_MP_"[..], &table.to_le_bytes(), &[1, REVISION]].concat();
    pointer.resize(POINTER_LEN, 0);
    pointer[10] = checksum(&pointer);
    pointer
}

fn header(entries: &[Vec<u8>]) -> Vec<u8> {
    let len = HEADER_LEN + entries.iter().map(Vec::len).sum::<usize>();
    let len = u16::try_from(len).expect("256 CPUs make a table of 6 KiB");
    let count = u16::try_from(entries.len()).expect("256 CPUs make 300 entries");
    let mut header = [&b"PCMP"[..], &len.to_le_bytes(), &[REVISION, 0]].concat();
    header.extend(b"HUSK    MICROVM     ");
    header.extend([0; 6]);
    header.extend(count.to_le_bytes());
    header.extend(LOCAL_APIC.to_le_bytes());
    header.extend([0; 4]);
    header
}

fn with_checksum(mut header: Vec<u8>, entries: &[u8]) -> Vec<u8> {
    header.extend(entries);
    header[7] = checksum(&header);
    header
}

/// What makes the sum of all bytes zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_lengths_are_right() {
        for cpus in [1, 2, 32] {
            let bytes = build(cpus);
            let (pointer, table) = bytes.split_at(POINTER_LEN);
            assert_eq!(checksum(pointer), 0);
            assert_eq!(checksum(table), 0);
            assert_eq!(
                usize::from(u16::from_le_bytes([table[4], table[5]])),
                table.len()
            );
            assert!(
                bytes.len() <= 1024,
                "the kernel looks at the first KiB: {}",
                bytes.len()
            );
        }
    }
}
