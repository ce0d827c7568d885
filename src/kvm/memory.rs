//! Guest memory: anonymous host pages, mapped lazily, from guest physical address 0 upwards with a
//! gap below 4 GiB where devices answer.

use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::error::Error;

/// Guest memory, shared by vCPUs and devices.
pub type Mem = Arc<GuestMemoryMmap>;

/// Where the gap begins: memory ends here at the latest.
pub const GAP_START: u64 = 0xc000_0000;

/// Where memory goes on after the gap.
pub const GAP_END: u64 = 1 << 32;

/// The ranges that `bytes` of memory take: start and length.
pub fn ranges(bytes: u64) -> Vec<(u64, u64)> {
    if bytes <= GAP_START {
        vec![(0, bytes)]
    } else {
        vec![(0, GAP_START), (GAP_END, bytes - GAP_START)]
    }
}

/// Maps `bytes` of guest memory, without touching a page of it.
pub fn allocate(bytes: u64) -> Result<Mem, Error> {
    let ranges = ranges(bytes);
    let ranges = ranges.iter().map(|(start, len)| {
        let len = usize::try_from(*len).unwrap_or(usize::MAX);
        (GuestAddress(*start), len)
    });
    let ranges: Vec<_> = ranges.collect();
    let mem = GuestMemoryMmap::from_ranges(&ranges);
    mem.map(Arc::new)
        .map_err(|source| Error::Memory { bytes, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_leaves_the_gap_free() {
        assert_eq!(ranges(1 << 30), [(0, 1 << 30)]);
        assert_eq!(ranges(5 << 30), [(0, GAP_START), (GAP_END, 2 << 30)]);
    }
}
