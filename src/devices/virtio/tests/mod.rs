//! The devices as a driver sees them: registers, rings and memory, no KVM.

mod balloon;
mod blk;
mod disk;
mod driver;
mod fs;
mod fuse;
mod hostile;
mod limit;
mod mmio;
mod net;
mod pace;
mod pairs;
mod random;
mod rng;
mod tap;
mod vhost;
mod vsock;
