//! The namespace wall: the same workload, in namespaces of the host's own kernel.

pub mod seccomp;
pub mod syscalls;
