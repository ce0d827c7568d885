//! As much of a keyboard controller as a kernel needs to reset the machine.

use vmm_sys_util::eventfd::EventFd;

use crate::kvm::bus::BusDevice;

/// Port of the command and status register.
pub const PORT: u64 = 0x64;

/// Command: pulse the CPU's reset line (IBM PS/2 technical reference; `reboot=k` of Linux).
const PULSE_RESET: u8 = 0xfe;

/// A controller that can only reset.
#[derive(Debug)]
pub struct I8042 {
    reset: EventFd,
}

impl I8042 {
    /// Signals `reset` when the guest asks for one.
    pub fn new(reset: EventFd) -> Self {
        Self { reset }
    }
}

impl BusDevice for I8042 {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        // Status: both buffers empty.
        data.fill(0);
    }

    fn write(&mut self, _offset: u64, data: &[u8]) {
        if data == [PULSE_RESET] {
            // The counter of an eventfd is far from full after one reset.
            let _full = self.reset.write(1);
        }
    }
}
