//! The kernel's command line: what there is to find, and what to leave alone.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::error::Error;
use super::layout::{COMMAND_LINE, COMMAND_LINE_MAX};
use crate::kvm::Flavour;

/// The console is the serial port; a panic or a reboot ends the machine by the keyboard
/// controller, the one port that needs no ACPI; the root is the stitched disk, init is on it.
const ALWAYS: &str = "console=ttyS0 8250.nr_uarts=1 reboot=k panic=-1 root=/dev/vda ro \
    rootfstype=erofs init=/init random.trust_cpu=on no_timer_check rcupdate.rcu_expedited=1";

/// A software KVM executes guest kernels instruction by instruction, so: no patching of lock
/// prefixes; no CPU feature whose instructions it interprets badly or hands back; system calls by
/// the patch of `kernel/patches`.
const SOFTWARE: &str = "husk.softkvm noreplace-smp clearcpuid=erms,fsrm,popcnt,cx16,xsavec,xsaves \
    mitigations=off";

/// A window of registers and its interrupt line.
#[derive(Debug, Clone, Copy)]
pub struct MmioDevice {
    /// Where it is.
    pub address: u64,
    /// Its length, bytes.
    pub len: u64,
    /// Its interrupt line.
    pub gsi: u32,
}

/// A command line, word by word.
#[derive(Debug)]
pub struct CommandLine {
    text: String,
}

impl CommandLine {
    /// What every guest gets on this flavour of KVM.
    pub fn new(flavour: Flavour, verbose: bool) -> Self {
        let mut line = Self {
            text: ALWAYS.to_owned(),
        };
        if flavour == Flavour::Software {
            line.push(SOFTWARE);
        }
        // Each line on the console is a thousand exits.
        line.push(if verbose { "ignore_loglevel" } else { "quiet" });
        line
    }

    /// Adds words.
    pub fn push(&mut self, words: &str) {
        self.text.push(' ');
        self.text.push_str(words);
    }

    /// Announces a virtio device (`Documentation/admin-guide/kernel-parameters.txt`,
    /// `virtio_mmio.device`).
    pub fn announce(&mut self, device: MmioDevice) {
        let MmioDevice { address, len, gsi } = device;
        self.push(&format!("virtio_mmio.device={len}@{address:#x}:{gsi}"));
    }

    /// Bytes without the terminator.
    pub fn len(&self) -> usize {
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
