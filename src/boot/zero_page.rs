//! The zero page: what a boot loader tells the kernel (Documentation/arch/x86/zero-page.rst).

use linux_loader::bootparam::{boot_e820_entry, boot_params};
use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::error::Error;
use super::initrd;
use super::kernel::Loaded;
use super::layout::{COMMAND_LINE, EBDA, HIGH_MEMORY, SEED, ZERO_PAGE};
use crate::kvm::memory::ranges;

/// `setup_header.header`: "HdrS".
const HEADER_MAGIC: u32 = 0x5372_6448;
/// `setup_header.boot_flag`.
const BOOT_FLAG: u16 = 0xaa55;
/// `setup_header.type_of_loader`: none that is registered.
const UNDEFINED_LOADER: u8 = 0xff;
/// `boot_e820_entry.type`: usable memory.
const E820_RAM: u32 = 1;

/// `setup_data.type`: bytes for the kernel's random numbers, which it overwrites.
const SETUP_RNG_SEED: u32 = 9;

/// So many, as QEMU gives.
pub const SEED_LEN: usize = 32;

/// What else the page tells.
pub struct Told {
    /// Bytes that nobody else knows.
    pub seed: [u8; SEED_LEN],
    /// Length of the command line, bytes.
    pub command_line: usize,
    /// The initial RAM disk.
    pub initrd: Option<initrd::Loaded>,
    /// Address of the first ACPI table.
    pub rsdp: Option<u64>,
}

/// Writes the zero page for a kernel with `memory` bytes.
pub fn write(
    mem: &GuestMemoryMmap,
    memory: u64,
    kernel: &Loaded,
    told: &Told,
) -> Result<(), Error> {
    let mut params = boot_params::default();
    if let Some(header) = kernel.header {
        params.hdr = header;
    }
    params.hdr.header = HEADER_MAGIC;
    params.hdr.boot_flag = BOOT_FLAG;
    params.hdr.type_of_loader = UNDEFINED_LOADER;
    params.hdr.cmd_line_ptr = u32::try_from(COMMAND_LINE).expect("the layout is below 4 GiB");
    params.hdr.cmdline_size =
        u32::try_from(told.command_line).expect("a command line is below 2 KiB");
    params.hdr.setup_data = SEED;
    write_seed(mem, &told.seed)?;
    params.acpi_rsdp_addr = told.rsdp.unwrap_or(0);
    if let Some(initrd) = told.initrd {
        params.hdr.ramdisk_image = initrd.address;
        params.hdr.ramdisk_size = initrd.len;
    }
    let usable = usable(memory);
    for (entry, (addr, size)) in params.e820_table.iter_mut().zip(&usable) {
        *entry = boot_e820_entry {
            addr: *addr,
            size: *size,
            r#type: E820_RAM,
        };
    }
    params.e820_entries = u8::try_from(usable.len()).expect("there are three entries at most");
    let page = BootParams::new(&params, GuestAddress(ZERO_PAGE));
    LinuxBootConfigurator::write_bootparams(&page, mem)
        .map_err(|error| Error::Load(error.to_string()))
}

/// The one `struct setup_data`: next, type, length, data.
fn write_seed(mem: &GuestMemoryMmap, seed: &[u8; SEED_LEN]) -> Result<(), Error> {
    let len = u32::try_from(SEED_LEN).unwrap_or(u32::MAX);
    let parts = [
        &0_u64.to_le_bytes()[..],
        &SETUP_RNG_SEED.to_le_bytes(),
        &len.to_le_bytes(),
        seed,
    ];
    mem.write_slice(&parts.concat(), GuestAddress(SEED))
        .map_err(|error| Error::Load(error.to_string()))
}

/// Memory that the kernel may use: all but the EBDA and the hole below 1 MiB.
fn usable(memory: u64) -> Vec<(u64, u64)> {
    let mut usable = vec![(0, EBDA)];
    for (start, len) in ranges(memory) {
        let from = start.max(HIGH_MEMORY);
        usable.push((from, start + len - from));
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_map_has_no_hole_in_it() {
        assert_eq!(usable(64 << 20), [(0, EBDA), (1 << 20, 63 << 20)]);
        let large = usable(4 << 30);
        assert_eq!(large[1], (1 << 20, (3 << 30) - (1 << 20)));
        assert_eq!(large[2], (4 << 30, 1 << 30));
    }
}
