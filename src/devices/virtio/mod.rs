//! Virtio 1.2 over MMIO: one transport, one file or folder per device.

pub mod balloon;
pub mod blk;
pub mod chain;
pub mod device;
pub mod fs;
pub mod mmio;
pub mod net;
pub mod pace;
mod registers;
pub mod rng;
pub mod vsock;
mod worker;

pub use registers::QUEUE_NOTIFY;

#[cfg(test)]
mod tests;
