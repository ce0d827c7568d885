//! The kernel's command line: what there is to find, and what to leave alone.

use std::fmt;

use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::error::Error;
use super::layout::{COMMAND_LINE, COMMAND_LINE_MAX};
use crate::kvm::Flavour;
use crate::kvm::memory::GAP_START;

/// A panic or a reboot ends the machine by the keyboard controller, the one port that needs no ACPI. The
/// root is the stitched disk, and init is on it.
const ALWAYS: &str = "reboot=k panic=-1 root=/dev/vda ro rootfstype=erofs init=/init husk.lean";

/// One CPU needs no lock prefixes rewritten, because its kernel need not lose them.
const UNIPROCESSOR: &str = "noreplace-smp";

/// Memory above 4 GiB would have the kernel set 64 MiB of it aside, for devices that cannot reach so
/// high: husk has none.
const NO_BOUNCE_BUFFERS: &str = "swiotlb=noforce";

/// A software KVM executes guest kernels instruction by instruction, so: no CPU feature whose
/// instructions it interprets one element at a time (ERMS 297, FSRM 580) or hands back (POPCNT 151,
/// CX16 141, SMAP 308 for its STAC and CLAC, XSAVEC 321, XSAVES 323; numbers of `cpufeatures.h`,
/// found faster than names); system calls by the patch of `kernel/patches`; a tick, milliseconds of
/// work, every fifth of a second.
/// Mitigations protect a kernel that shares its processor with its programs' speculation; an
/// interpreted one does not speculate. Its memory is not split into pages to be write-protected.
const SOFTWARE: &str = "husk.softkvm husk.ticks=20 clearcpuid=297,580,151,141,308,321,323 \
    mitigations=off rodata=off";

/// The console is the serial port.
const CONSOLE: &str = "console=ttyS0";

/// Nobody reads the kernel's messages: only panics reach the console, and nothing below a warning is
/// composed before init runs.
const SILENT: &str = "loglevel=1 husk.quiet";

/// For panics the console of the early boot will do, which writes to the port and knows nothing of it. The driver
/// that comes later asks the port what it is: 60 exits, and 75 pages of the guest's for terminals that nobody
/// opens.
const EARLY_CONSOLE: &str = "earlycon=uart8250,io,0x3f8 keep_bootcon 8250.nr_uarts=0";

/// What a kernel says on its console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// Everything.
    Everything,
    /// Why it panics.
    Panics,
    /// The same, of a kernel that may have programs which look for a terminal on the port.
    PanicsOfForeign,
}

/// A window of registers and its interrupt line. Shown as in `virtio_mmio.device`
/// (`Documentation/admin-guide/kernel-parameters.txt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MmioDevice {
    /// Where it is.
    pub address: u64,
    /// Its length, bytes.
    pub len: u64,
    /// Its interrupt line.
    pub gsi: u32,
}

impl fmt::Display for MmioDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, len, gsi } = self;
        write!(f, "{len}@{address:#x}:{gsi}")
    }
}

/// A command line, word by word.
#[derive(Debug)]
pub struct CommandLine {
    text: String,
    devices: Vec<MmioDevice>,
}

impl CommandLine {
    /// What a guest with so many CPUs and bytes of memory gets on this flavour of KVM.
    pub fn new(flavour: Flavour, cpus: u8, memory: u64, speech: Speech) -> Self {
        let mut line = Self {
            text: ALWAYS.to_owned(),
            devices: Vec::new(),
        };
        if flavour == Flavour::Software {
            line.push(SOFTWARE);
        }
        if cpus == 1 {
            line.push(UNIPROCESSOR);
        }
        if memory > GAP_START {
            line.push(NO_BOUNCE_BUFFERS);
        }
        for words in match speech {
            Speech::Everything => [CONSOLE, "ignore_loglevel"],
            Speech::Panics => [EARLY_CONSOLE, SILENT],
            Speech::PanicsOfForeign => [CONSOLE, SILENT],
        } {
            line.push(words);
        }
        line
    }

    /// Adds words.
    pub fn push(&mut self, words: &str) {
        self.text.push(' ');
        self.text.push_str(words);
    }

    /// Announces a virtio device.
    pub fn announce(&mut self, device: MmioDevice) {
        self.devices.push(device);
        self.push(&format!("virtio_mmio.device={device}"));
    }

    /// The devices that were announced.
    pub fn devices(&self) -> &[MmioDevice] {
        &self.devices
    }

    /// Its length in bytes, without the terminator.
    pub fn byte_len(&self) -> usize {
        self.text.len()
    }

    /// Puts it into guest memory.
    pub fn write(&self, mem: &GuestMemoryMmap) -> Result<(), Error> {
        let mut bytes = self.text.clone().into_bytes();
        bytes.push(0);
        if bytes.len() > COMMAND_LINE_MAX {
            return Err(Error::CommandLine(self.text.len()));
        }
        mem.write_slice(&bytes, GuestAddress(COMMAND_LINE))
            .map_err(|error| Error::Load(error.to_string()))
    }
}
