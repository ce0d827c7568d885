//! KVM itself: the VM, its vCPUs, guest memory, the bus, and the assist for instructions that a
//! software KVM cannot run.

pub mod bus;
pub mod memory;
