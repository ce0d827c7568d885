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
    /// The initial RAM disk is a directory, a device or a pipe.
    #[error("the initial RAM disk is no regular file")]
    InitrdNoFile,
    /// There is nothing in it.
    #[error("the initial RAM disk is empty")]
    InitrdEmpty,
    /// It cannot be read.
    #[error("cannot read the initial RAM disk")]
    InitrdRead(#[source] io::Error),
    /// The guest's memory is too small for it.
    #[error(
        "{} MiB of memory are too small for the kernel and the initial RAM disk: give them at least -m {}m",
        memory >> 20,
        needed.div_ceil(1 << 20)
    )]
    InitrdMemory {
        /// What the guest has, bytes.
        memory: u64,
        /// What the two need, bytes.
        needed: u64,
    },
    /// No memory is large enough for it.
    #[error(
        "the initial RAM disk has {} MiB, and the kernel takes it only below {} MiB",
        len.div_ceil(1 << 20),
        limit >> 20
    )]
    InitrdTooLarge {
        /// What it has, bytes.
        len: u64,
        /// Where it has to end.
        limit: u64,
    },
    /// The command line is longer than the kernel takes.
    #[error("the kernel's command line has {0} bytes, more than the 2047 that Linux takes")]
    CommandLine(usize),
    /// A vCPU does not take its first state.
    #[error(transparent)]
    Vcpu(#[from] kvm::Error),
}
