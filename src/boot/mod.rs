//! A kernel in guest memory, and a vCPU about to enter it.
//!
//! By the Linux x86 boot protocol (Documentation/arch/x86/boot.rst, "64-bit boot protocol"): the
//! kernel is entered in long mode with paging on and identity-mapped, interrupts off, and RSI at
//! the zero page, which names the command line and the memory map.

mod acpi;
mod cmdline;
mod cpu;
mod error;
mod initrd;
mod kernel;
mod layout;
mod mptable;
mod zero_page;

pub use cmdline::{CommandLine, MmioDevice, Speech};
pub use cpu::enter;
pub use error::Error;
pub use initrd::{Loaded as Initrd, load as load_initrd};
pub use kernel::{Loaded, load};
pub use layout::ZERO_PAGE;

use vm_memory::GuestMemoryMmap;

/// A machine, as its kernel is told of it.
#[derive(Debug)]
pub struct Hardware {
    /// Memory, bytes.
    pub memory: u64,
    /// CPUs.
    pub cpus: u8,
    /// Whether ACPI tells of it too.
    pub acpi: bool,
}

/// Bytes for the kernel's random numbers, from before any device is there to give some.
pub type Seed = [u8; zero_page::SEED_LEN];

/// Puts everything but the kernel itself into memory: command line, MP table, ACPI tables, zero
/// page.
pub fn describe(
    mem: &GuestMemoryMmap,
    hardware: &Hardware,
    kernel: &kernel::Loaded,
    initrd: Option<initrd::Loaded>,
    command_line: &CommandLine,
    seed: Seed,
) -> Result<(), Error> {
    let cpus = hardware.cpus;
    command_line.write(mem)?;
    mptable::write(mem, cpus)?;
    let rsdp = hardware
        .acpi
        .then(|| acpi::write(mem, cpus, command_line.devices()))
        .transpose()?;
    let told = zero_page::Told {
        seed,
        command_line: command_line.byte_len(),
        initrd,
        rsdp,
    };
    zero_page::write(mem, hardware.memory, kernel, &told)
}
