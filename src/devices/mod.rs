//! What the guest finds on its bus: a serial port for kernel messages, and virtio.

pub mod virtio;
