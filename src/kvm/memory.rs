//! Guest memory: anonymous host pages, mapped lazily, from guest physical address 0 upwards with a
//! gap below 4 GiB where devices answer.

use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::param::page_size;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap, MmapRegion,
};

use super::error::Error;

/// Guest memory, shared by vCPUs and devices.
pub type Mem = Arc<GuestMemoryMmap>;

/// Where the gap begins: memory ends here at the latest.
pub const GAP_START: u64 = 0xc000_0000;

/// Where memory goes on after the gap.
pub const GAP_END: u64 = 1 << 32;

/// Bytes of a huge page.
pub const HUGE_PAGE: usize = 2 << 20;

/// The ranges that `bytes` of memory take: start and length.
pub fn ranges(bytes: u64) -> Vec<(u64, u64)> {
    if bytes <= GAP_START {
        vec![(0, bytes)]
    } else {
        vec![(0, GAP_START), (GAP_END, bytes - GAP_START)]
    }
}

/// Maps `bytes` of guest memory, without touching a page of it. It stays mapped as long as the process
/// lives. Where the guest has a boundary of huge pages the host has one: KVM can map both at once.
pub fn allocate(bytes: u64) -> Result<Mem, Error> {
    map(&ranges(bytes))
        .map(Arc::new)
        .map_err(|source| Error::Memory { bytes, source })
}

fn map(ranges: &[(u64, u64)]) -> io::Result<GuestMemoryMmap> {
    let mut regions = Vec::new();
    for (start, len) in ranges {
        let mapping = map_aligned(usize::try_from(*len).map_err(io::Error::other)?)?;
        let region = GuestRegionMmap::new(mapping, GuestAddress(*start));
        regions.push(region.ok_or(io::ErrorKind::InvalidInput)?);
    }
    GuestMemoryMmap::from_regions(regions).map_err(io::Error::other)
}

/// Maps `len` bytes at a boundary of huge pages.
fn map_aligned(len: usize) -> io::Result<MmapRegion> {
    let (protection, flags) = (
        ProtFlags::READ | ProtFlags::WRITE,
        MapFlags::PRIVATE | MapFlags::NORESERVE,
    );
    let all = len
        .checked_add(HUGE_PAGE)
        .ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: the kernel chooses where, and takes nobody's memory for it.
    let mapped = unsafe { mmap_anonymous(ptr::null_mut(), all, protection, flags) }?;
    let before = mapped.addr().next_multiple_of(HUGE_PAGE) - mapped.addr();
    let start = mapped.wrapping_byte_add(before);
    for (edge, len) in [
        (mapped, before),
        (start.wrapping_byte_add(len), HUGE_PAGE - before),
    ] {
        if len > 0 {
            // SAFETY: it is a part of what was just mapped, and nobody has seen it.
            unsafe { munmap(edge, len) }?;
        }
    }
    let builder = MmapRegionBuilder::new(len);
    // SAFETY: what is left of the mapping has this start and length, and is never unmapped.
    let builder = unsafe { builder.with_raw_mmap_pointer(start.cast()) };
    builder.build().map_err(io::Error::other)
}

/// Asks the host to back the stretch of one huge page at `start` by one, and says where in this process
/// that is. A host without huge pages, or with none left, backs it by small ones. Touched at once: a guest that read
/// it first would be given the page of zeros, and small pages where it writes.
pub fn prefer_huge_page(mem: &GuestMemoryMmap, start: u64) -> Option<Range<usize>> {
    let slice = mem.get_slice(GuestAddress(start), HUGE_PAGE).ok()?;
    let begin = slice.ptr_guard_mut().as_ptr();
    // SAFETY: the stretch is guest memory, and says nothing else after this.
    let _refused = unsafe { madvise(begin.cast(), HUGE_PAGE, Advice::LinuxHugepage) };
    mem.write_obj(0u8, GuestAddress(start)).ok()?;
    Some(begin.addr()..begin.addr() + HUGE_PAGE)
}

/// Gives the host back what backs the whole pages among `len` bytes from `start` on: they read as zeros, or as what a
/// file has that was lent to them, until they are written again. False where that is not all guest memory.
pub fn give_back(mem: &GuestMemoryMmap, start: GuestAddress, len: usize) -> bool {
    let Ok(slice) = mem.get_slice(start, len) else {
        return false;
    };
    let begin = slice.ptr_guard_mut().as_ptr();
    let page = page_size();
    let before = begin.addr().next_multiple_of(page) - begin.addr();
    let whole = len.saturating_sub(before) / page * page;
    if whole > 0 {
        // SAFETY: the pages are guest memory, as was checked: they stay mapped, and nobody holds references into
        // them; a guest that changes while somebody reads is what everybody here expects.
        let _refused = unsafe {
            madvise(
                begin.wrapping_byte_add(before).cast(),
                whole,
                Advice::LinuxDontNeed,
            )
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_leaves_the_gap_free() {
        assert_eq!(ranges(1 << 30), [(0, 1 << 30)]);
        assert_eq!(ranges(5 << 30), [(0, GAP_START), (GAP_END, 2 << 30)]);
    }

    #[test]
    fn memory_is_aligned_and_ends_where_it_was_asked_to() {
        let mem = allocate((64 << 20) + 4096).unwrap();
        for start in [0, 2 << 20, 62 << 20] {
            let stretch = prefer_huge_page(&mem, start).unwrap();
            assert!(stretch.start.is_multiple_of(HUGE_PAGE));
        }
        assert_eq!(prefer_huge_page(&mem, 64 << 20), None);
        mem.write_obj(7u64, GuestAddress((64 << 20) + 4088))
            .unwrap();
        assert!(
            mem.write_obj(7u64, GuestAddress((64 << 20) + 4089))
                .is_err()
        );
    }

    #[test]
    fn whole_pages_are_given_back_and_nothing_beyond_memory() {
        let mem = allocate(1 << 20).unwrap();
        let byte = |at| mem.read_obj::<u8>(GuestAddress(at)).unwrap();
        mem.write_slice(&[7; 5 * 4096], GuestAddress(0)).unwrap();
        assert!(give_back(&mem, GuestAddress(100), 3 * 4096));
        let seen = [0, 4095, 4096, 3 * 4096 - 1, 3 * 4096, 5 * 4096 - 1].map(byte);
        assert_eq!(seen, [7, 7, 0, 0, 7, 7]);
        assert!(give_back(&mem, GuestAddress(4 * 4096 + 1), 4095));
        assert_eq!(byte(4 * 4096 + 1), 7, "no whole page");
        for (start, len) in [
            (1 << 20, 1),
            ((1 << 20) - 1, 2),
            (u64::MAX, 9),
            (0, usize::MAX),
        ] {
            assert!(!give_back(&mem, GuestAddress(start), len));
        }
        mem.write_obj(9u8, GuestAddress(4096)).unwrap();
        assert_eq!(byte(4096), 9);
    }

    #[test]
    fn more_memory_than_there_is_address_space_is_an_error() {
        assert!(matches!(allocate(1 << 60), Err(Error::Memory { .. })));
    }
}
