//! ACPI tables, for kernels that learn of CPUs and devices no other way, as distributions build
//! them (ACPI specification 6.5; sections in brackets).
//!
//! ```text
//!  zero page ─▶ RSDP ─▶ XSDT ─┬▶ FADT ─▶ DSDT   the serial port, and the virtio devices
//!                             └▶ MADT           CPUs, the I/O APIC, the NMI
//! ```
//!
//! The platform is a hardware-reduced one [3.11.1]: there are no power management registers, no
//! ACPI interrupt and no real-time clock, so nothing may be said of them. A kernel then leaves the
//! 8259 and the 8254 alone too, and its interrupts are those that the DSDT names.
//!
//! The embedded kernel knows no ACPI and finds the same by its command line and the MP table. A
//! kernel that knows all of it drives each device once: the devices of the DSDT are registered first, and
//! those of the command line find their windows claimed (EBUSY).

use acpi_tables::Aml;
use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Path, ResourceTemplate, Scope,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::cmdline::MmioDevice;
use super::error::Error;
use super::layout::{ACPI, HIGH_MEMORY, IO_APIC, LOCAL_APIC};

/// Who made the tables: OEM ID, table ID and revision in each header [5.2.6].
const OEM: [u8; 6] = *b"HUSK  ";
const TABLE: [u8; 8] = *b"MICROVM ";
const REVISION: u32 = 1;
/// Bytes of a table's header [5.2.6], and of the MADT's fixed part [5.2.12].
const HEADER_LEN: u32 = 36;
const MADT_LEN: u32 = 44;
/// Revisions of the DSDT, for which integers have 64 bits, and of the MADT.
const DSDT_REVISION: u8 = 2;
const MADT_REVISION: u8 = 4;
/// A kernel without the zero page's word looks for the RSDP at every 16th byte [5.2.5.1].
const ALIGNMENT: usize = 16;
/// IAPC_BOOT_ARCH [5.2.9.3]: no VGA, no MSI, no PCIe power management, no CMOS clock; bits 0 and 1 are
/// clear too, so nobody waits for a keyboard's controller to answer.
const NO_VGA: u16 = 1 << 2;
const NO_MSI: u16 = 1 << 3;
const NO_ASPM: u16 = 1 << 4;
const NO_CMOS_CLOCK: u16 = 1 << 5;
/// The reset that every PC has: a command to the keyboard controller, as by `reboot=k`.
const RESET_PORT: u64 = 0x64;
const RESET_VALUE: u8 = 0xfe;
/// The first serial port of a PC: ports and interrupt line.
const COM1: u16 = 0x3f8;
const COM1_PORTS: u8 = 8;
const COM1_GSI: u32 = 4;
/// Local APIC NMI [5.2.12.7]: of every processor, polarity and trigger as the bus has them, LINT1.
const LOCAL_NMI: [u8; 6] = [4, 6, 0xff, 0, 0, 1];
/// The I/O APIC's first line.
const FIRST_GSI: u32 = 0;

/// Writes the tables for `cpus` CPUs and `devices`, and gives the RSDP's address.
pub fn write(mem: &GuestMemoryMmap, cpus: u8, devices: &[MmioDevice]) -> Result<u64, Error> {
    let (bytes, rsdp) = build(cpus, devices);
    mem.write_slice(&bytes, GuestAddress(ACPI))
        .map_err(|error| Error::Load(error.to_string()))?;
    Ok(rsdp)
}

/// Tables one behind the other, each before the one that points to it.
#[derive(Default)]
struct Tables {
    bytes: Vec<u8>,
}

impl Tables {
    /// Adds a table and gives its address.
    fn add(&mut self, table: &[u8]) -> u64 {
        let offset = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(offset, 0);
        self.bytes.extend_from_slice(table);
        ACPI + offset as u64
    }
}

/// All tables, to lie at [`ACPI`], and the RSDP's address.
fn build(cpus: u8, devices: &[MmioDevice]) -> (Vec<u8>, u64) {
    let mut tables = Tables::default();
    let dsdt = tables.add(dsdt(devices).as_slice());
    let fadt = tables.add(&encode(&fadt(dsdt)));
    let madt = tables.add(madt(cpus).as_slice());
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = tables.add(&encode(&xsdt));
    let rsdp = tables.add(&encode(&Rsdp::new(OEM, xsdt)));
    debug_assert!(ACPI + tables.bytes.len() as u64 <= HIGH_MEMORY);
    (tables.bytes, rsdp)
}

fn encode(part: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    part.to_aml_bytes(&mut bytes);
    bytes
}

/// Fixed description [5.2.9]: what there is not, and how to reset.
fn fadt(dsdt: u64) -> impl Aml {
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup);
    fadt.iapc_boot_arch = (NO_VGA | NO_MSI | NO_ASPM | NO_CMOS_CLOCK).into();
    fadt.reset_reg = GAS::new(
        AddressSpace::SystemIo,
        8,
        0,
        AccessSize::ByteAccess,
        RESET_PORT,
    );
    fadt.reset_value = RESET_VALUE;
    fadt.finalize()
}

/// Interrupt controllers [5.2.12], as the MP table has them.
fn madt(cpus: u8) -> Sdt {
    let mut fixed = Sdt::new(*b"APIC", MADT_LEN, MADT_REVISION, OEM, TABLE, REVISION);
    let mut entries = Vec::new();
    for id in 0..cpus {
        ProcessorLocalApic::new(id, id, EnabledStatus::Enabled).to_aml_bytes(&mut entries);
    }
    IoApic::new(cpus, IO_APIC, FIRST_GSI).to_aml_bytes(&mut entries);
    entries.extend(LOCAL_NMI);
    fixed.write_bytes(36, &LOCAL_APIC.to_le_bytes());
    fixed.append_slice(&entries);
    fixed
}

/// Devices [5.2.11.1]: under `\_SB_`, each with its windows and its interrupt.
fn dsdt(devices: &[MmioDevice]) -> Sdt {
    let mut body = serial();
    for (index, device) in (0u16..).zip(devices) {
        body.extend(virtio(index, *device));
    }
    let mut dsdt = Sdt::new(*b"DSDT", HEADER_LEN, DSDT_REVISION, OEM, TABLE, REVISION);
    dsdt.append_slice(&Scope::raw(Path::new("\\_SB_"), body));
    dsdt
}

/// A 16550 (PNP0501), so that its interrupt is known.
fn serial() -> Vec<u8> {
    let ports = IO::new(COM1, COM1, 1, COM1_PORTS);
    let line = interrupt(COM1_GSI);
    encode(&Device::new(
        Path::new("COM1"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0501")),
            &Name::new(Path::new("_UID"), &0u8),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![&ports, &line]),
            ),
        ],
    ))
}

/// A virtio device over MMIO: LNRO0005 is its ID of old (Linux, drivers/virtio/virtio_mmio.c; QEMU).
fn virtio(index: u16, device: MmioDevice) -> Vec<u8> {
    let word = |value| u32::try_from(value).expect("windows are in the gap below 4 GiB");
    let window = Memory32Fixed::new(true, word(device.address), word(device.len));
    let line = interrupt(device.gsi);
    encode(&Device::new(
        Path::new(&format!("V{index:03X}")),
        vec![
            &Name::new(Path::new("_HID"), &"LNRO0005"),
            &Name::new(Path::new("_UID"), &index),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![&window, &line]),
            ),
        ],
    ))
}

/// An interrupt line as husk raises it: by edge, active high, of one device.
fn interrupt(gsi: u32) -> Interrupt {
    Interrupt::new(true, true, false, false, gsi)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    fn at(bytes: &[u8], address: u64) -> &[u8] {
        &bytes[usize::try_from(address - ACPI).unwrap()..]
    }

    fn word(bytes: &[u8], offset: usize) -> u64 {
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
    }

    /// The table at `address`, by its own length.
    fn table<'a>(bytes: &'a [u8], address: u64, signature: &[u8]) -> &'a [u8] {
        let from = at(bytes, address);
        assert_eq!(&from[..4], signature);
        let len = u32::from_le_bytes(from[4..8].try_into().unwrap());
        let table = &from[..usize::try_from(len).unwrap()];
        assert_eq!(sum(table), 0, "{signature:?}");
        table
    }

    #[test]
    fn every_table_is_reached_and_sums_to_zero() {
        let device = |gsi: u32| MmioDevice {
            address: 0xd000_0000 + u64::from(gsi) * 0x1000,
            len: 0x1000,
            gsi,
        };
        for cpus in [1, 2, 254] {
            let devices: Vec<_> = (5..24).map(device).collect();
            let (bytes, rsdp) = build(cpus, &devices);
            assert!(ACPI + bytes.len() as u64 <= HIGH_MEMORY);
            assert_eq!(rsdp % 16, 0);
            let first = &at(&bytes, rsdp)[..36];
            assert_eq!(&first[..8], b"RSD PTR ");
            assert_eq!((sum(&first[..20]), sum(first)), (0, 0));
            let xsdt = table(&bytes, word(first, 24), b"XSDT");
            assert_eq!(xsdt.len(), 36 + 2 * 8);
            let fadt = table(&bytes, word(xsdt, 36), b"FACP");
            assert_eq!(fadt.len(), 276);
            let madt = table(&bytes, word(xsdt, 44), b"APIC");
            assert_eq!(madt.len(), 44 + usize::from(cpus) * 8 + 12 + 6);
            assert_eq!(madt[36..40], LOCAL_APIC.to_le_bytes());
            let dsdt = table(&bytes, word(fadt, 140), b"DSDT");
            let named = dsdt.windows(8).filter(|name| name == b"LNRO0005").count();
            assert_eq!(named, devices.len());
        }
    }
}
