//! What the guest finds on its bus: a serial port for kernel messages, a keyboard controller to
//! reset by, and virtio.

pub mod i8042;
pub mod serial;
pub mod virtio;
