//! KVM itself: the VM, its vCPUs, guest memory, the bus, and the assist for instructions that a
//! software KVM cannot run.

pub mod assist;
pub mod bus;
mod cpuid;
mod error;
mod exits;
mod flavour;
mod host;
pub mod lend;
pub mod line;
pub mod memory;
pub mod transfer;
mod vcpu;
pub mod vhost;
mod vm;

pub use error::Error;
pub use exits::Exits;
pub use flavour::Flavour;
pub use host::{Capability, Kvm};
pub use vcpu::{Exit, Vcpu};
pub use vm::Vm;
