//! Where the virtio devices of a machine are: register windows and interrupt lines.

use crate::boot::MmioDevice;

/// First window: in the gap of guest memory.
const FIRST_ADDRESS: u64 = 0xd000_0000;
/// Bytes of a window.
const WINDOW: u64 = 0x1000;
/// First interrupt line behind those of the PC's own devices; the I/O APIC has 24.
const FIRST_GSI: u32 = 5;

/// How many slots there are.
pub const MOST_SLOTS: u8 = 24 - 5;

/// Slot number `index`.
pub fn slot(index: u8) -> MmioDevice {
    MmioDevice {
        address: FIRST_ADDRESS + WINDOW * u64::from(index),
        len: WINDOW,
        gsi: FIRST_GSI + u32::from(index),
    }
}
