//! The initial RAM disk in guest memory: as high as the kernel takes it, out of the way of what it
//! unpacks (Documentation/arch/x86/boot.rst, `initrd_addr_max`).

use std::fs::File;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::error::Error;
use super::kernel::{self, HEADROOM};
use crate::kvm::memory::ranges;

/// The highest byte that any 64-bit Linux takes (`initrd_addr_max` of arch/x86/boot/header.S), for
/// an ELF, which does not say.
const ADDRESS_MAX: u32 = 0x7fff_ffff;

/// It begins at a page: the kernel frees it by the page.
const PAGE: u64 = 4096;

/// An initial RAM disk in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// Where it begins.
    pub address: u32,
    /// Its length, bytes.
    pub len: u32,
}

/// Loads `file` into `mem`, which has `memory` bytes, above `kernel`.
pub fn load(
    mem: &GuestMemoryMmap,
    memory: u64,
    kernel: &kernel::Loaded,
    mut file: File,
) -> Result<Loaded, Error> {
    let metadata = file.metadata().map_err(Error::InitrdRead)?;
    if !metadata.is_file() {
        return Err(Error::InitrdNoFile);
    }
    let highest = kernel.header.map(|header| header.initrd_addr_max);
    let limit = u64::from(highest.filter(|max| *max != 0).unwrap_or(ADDRESS_MAX)) + 1;
    let loaded = place(memory, kernel.end, limit, metadata.len())?;
    let (address, len) = (u64::from(loaded.address), metadata.len());
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    mem.read_exact_volatile_from(GuestAddress(address), &mut file, len)
        .map_err(|error| Error::Load(error.to_string()))?;
    Ok(loaded)
}

/// Where `len` bytes go in `memory` bytes, behind `kernel_end` and before `limit`.
fn place(memory: u64, kernel_end: u64, limit: u64, len: u64) -> Result<Loaded, Error> {
    if len == 0 {
        return Err(Error::InitrdEmpty);
    }
    let needed = (kernel_end + HEADROOM).saturating_add(len.next_multiple_of(PAGE));
    if needed > limit {
        return Err(Error::InitrdTooLarge { len, limit });
    }
    let low_end = ranges(memory).first().map_or(0, |(start, len)| start + len);
    if needed > low_end {
        return Err(Error::InitrdMemory { memory, needed });
    }
    let address = (low_end.min(limit) - len) / PAGE * PAGE;
    let word = |value| u32::try_from(value).expect("the limit is below 4 GiB");
    Ok(Loaded {
        address: word(address),
        len: word(len),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LIMIT: u64 = ADDRESS_MAX as u64 + 1;

    #[test]
    fn it_lies_high_at_a_page_and_below_the_limit() {
        let small = place(256 * MIB, 68 * MIB, LIMIT, 5000).unwrap();
        assert_eq!(
            (u64::from(small.address), small.len),
            (256 * MIB - 8192, 5000)
        );
        let large = place(6 << 30, 68 * MIB, LIMIT, 4096).unwrap();
        assert_eq!(u64::from(large.address), LIMIT - 4096);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(matches!(
            place(256 * MIB, 68 * MIB, LIMIT, 0),
            Err(Error::InitrdEmpty)
        ));
        let Err(Error::InitrdMemory { needed, .. }) = place(256 * MIB, 68 * MIB, LIMIT, 200 * MIB)
        else {
            panic!("200 MiB do not fit beside the kernel");
        };
        assert!(place(needed, 68 * MIB, LIMIT, 200 * MIB).is_ok());
        assert!(matches!(
            place(8 << 30, 68 * MIB, LIMIT, 2 << 30),
            Err(Error::InitrdTooLarge { .. })
        ));
        assert!(place(8 << 30, 68 * MIB, LIMIT, u64::MAX - 8191).is_err());
    }
}
