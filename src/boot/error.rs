//! Why a kernel cannot be booted.

use std::io;

use thiserror::Error;

use crate::kvm;

/// A kernel, or a machine for it, that does not fit.
#[derive(Debug, Error)]
pub enum Error {
    /// The file is no kernel.
    #[error("not a kernel: neither an uncompressed ELF for x86_64 nor a bzImage")]
    NotAKernel,
    /// The kernel file cannot be read.
    #[error("cannot read the kernel")]
    Read(#[source] io::Error),
    /// It is a kernel, and something in it is wrong.
    #[error("the kernel cannot be loaded: {0}")]
    Load(String),
    /// The guest's memory is too small for it.
    #[error(
        "{} MiB of memory are too small for the kernel: give it at least -m {}m",
        memory >> 20,
        needed.div_ceil(1 << 20)
    )]
    MemoryTooSmall {
        /// What the guest has, bytes.
        memory: u64,
        /// What the kernel needs, bytes.
        needed: u64,
    },
    /// The command line is longer than the kernel takes.
    #[error("the kernel's command line has {0} bytes, more than the 2047 that Linux takes")]
    CommandLine(usize),
    /// A vCPU does not take its first state.
    #[error(transparent)]
    Vcpu(#[from] kvm::Error),
}
