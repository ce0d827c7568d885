//! The kernel file in guest memory.

use std::fs::File;

use linux_loader::bootparam::setup_header;
use linux_loader::loader::{
    BzImage, Elf, Error as LoaderError, KernelLoader, KernelLoaderResult, bzimage, elf,
};
use vm_memory::{Address, GuestAddress, GuestMemoryMmap};

use super::error::Error;
use super::layout::{HIGH_MEMORY, hot};
use crate::kvm::lend::Lender;
use crate::kvm::memory::prefer_huge_page;

/// A 64-bit kernel in a bzImage is entered this far behind its start (boot.rst, 64-bit protocol).
const BZIMAGE_ENTRY: u64 = 0x200;

/// What a kernel needs beside itself to get as far as init: page tables, per-CPU areas, caches.
pub const HEADROOM: u64 = 24 << 20;

/// A kernel in memory.
#[derive(Debug)]
pub struct Loaded {
    /// The address to enter at.
    pub entry: u64,
    /// The end of what it takes before it knows what is free.
    pub end: u64,
    /// A bzImage's own header, which the zero page repeats.
    pub header: Option<setup_header>,
}

/// Loads an uncompressed ELF or a bzImage into `mem`, which has `memory` bytes. A `fixed` file is one
/// that nobody changes: an ELF's pages are then mapped, and read when the guest touches them.
pub fn load(
    mem: &GuestMemoryMmap,
    memory: u64,
    file: &mut File,
    fixed: bool,
) -> Result<Loaded, Error> {
    let size = file.metadata().map_err(Error::Read)?.len();
    let too_small = |end: u64| Error::MemoryTooSmall {
        memory,
        needed: end + HEADROOM,
    };
    // An ELF is in memory about what it is in its file; a bzImage unpacks itself to several times.
    if memory < HIGH_MEMORY + HEADROOM {
        return Err(too_small(HIGH_MEMORY + size));
    }
    let high = Some(GuestAddress(HIGH_MEMORY));
    let elf = if fixed {
        let stretches = hot(memory).into_iter();
        let stretches = stretches.filter_map(|start| prefer_huge_page(mem, start));
        let mut lender = Lender::new(file, mem, stretches.collect());
        Elf::load(mem, None, &mut lender, high)
    } else {
        Elf::load(mem, None, file, high)
    };
    let (loaded, is_elf) = match elf {
        Err(LoaderError::Elf(elf::Error::InvalidElfMagicNumber | elf::Error::ReadElfHeader)) => {
            (BzImage::load(mem, None, file, high), false)
        }
        loaded => (loaded, true),
    };
    let loaded = loaded.map_err(|error| match error {
        LoaderError::Bzimage(
            bzimage::Error::InvalidBzImage
            | bzimage::Error::ReadBzImageHeader
            | bzimage::Error::SeekBzImageHeader,
        ) => Error::NotAKernel,
        LoaderError::Elf(elf::Error::ReadKernelImage)
        | LoaderError::Bzimage(bzimage::Error::ReadBzImageCompressedKernel) => {
            too_small(2 * HIGH_MEMORY + size)
        }
        other => Error::Load(other.to_string()),
    })?;
    let end = loaded.kernel_end.max(unpacked_end(&loaded));
    if end + HEADROOM > memory {
        return Err(too_small(end));
    }
    let start = loaded.kernel_load.raw_value();
    let entry = if is_elf { start } else { start + BZIMAGE_ENTRY };
    Ok(Loaded {
        entry,
        end,
        header: loaded.setup_header,
    })
}

/// Where the memory ends that a bzImage unpacks itself into (boot.rst, `init_size`): from its
/// preferred address up, or from where it was loaded if that is higher. 0 for an ELF.
fn unpacked_end(loaded: &KernelLoaderResult) -> u64 {
    let Some(header) = loaded.setup_header else {
        return 0;
    };
    let alignment = u64::from(header.kernel_alignment).max(1);
    let start = loaded.kernel_load.raw_value().max(header.pref_address);
    start.next_multiple_of(alignment) + u64::from(header.init_size)
}
