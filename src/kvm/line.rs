//! Interrupt lines, edge-triggered.
//!
//! A line is raised by KVM_IRQ_LINE and not by an irqfd: KVM raises a line of the I/O APIC for an irqfd
//! from a kernel worker, one switch of tasks later, and takes each irqfd down with an SRCU grace period.

use std::fmt;
use std::sync::Arc;

use kvm_ioctls::VmFd;

/// Something that interrupts the guest.
pub trait Line: Send + Sync + fmt::Debug {
    /// One edge: the line rises, and falls again.
    fn pulse(&self);
}

/// The interrupt chips of a VM.
#[derive(Debug, Clone)]
pub struct Lines(pub(super) Arc<VmFd>);

impl Lines {
    /// Interrupt line number `gsi`.
    pub fn line(&self, gsi: u32) -> Box<dyn Line> {
        Box::new(Gsi {
            vm: Arc::clone(&self.0),
            number: gsi,
        })
    }
}

/// A line of the interrupt chips of a VM.
#[derive(Debug)]
struct Gsi {
    vm: Arc<VmFd>,
    number: u32,
}

impl Line for Gsi {
    fn pulse(&self) {
        for level in [true, false] {
            // It fails for lines that there are not, and in VMs without chips.
            let _wired = self.vm.set_irq_line(self.number, level);
        }
    }
}
