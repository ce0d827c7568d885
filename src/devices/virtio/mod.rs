//! Virtio 1.2 over MMIO: one transport, one file or folder per device.

pub mod device;
