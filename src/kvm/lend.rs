//! A file that lends its pages to guest memory instead of being copied there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap};
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{
    GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, ReadVolatile, VolatileMemoryError,
    VolatileSlice,
};

/// Bytes of a page.
const PAGE: usize = 4096;

/// Reads a file that does not change into guest memory: whole pages at page boundaries of both are
/// mapped there, private and copied when the guest writes to them, so that machines share those
/// they only read; the rest is copied.
#[derive(Debug)]
pub struct Lender<'a> {
    file: &'a File,
    mem: &'a GuestMemoryMmap,
    copied: Vec<Range<usize>>,
}

impl<'a> Lender<'a> {
    /// Lends the pages of `file` to `mem`, but none for the stretches of this process's memory that are
    /// to be `copied`, which may not overlap. Whoever changes the file changes the guest.
    pub fn new(file: &'a File, mem: &'a GuestMemoryMmap, mut copied: Vec<Range<usize>>) -> Self {
        copied.sort_by_key(|stretch| stretch.start);
        Self { file, mem, copied }
    }

    /// Whether `len` bytes from `start` on are of the guest's memory, and of nobody else's.
    fn is_guests(&self, start: *const u8, len: usize) -> bool {
        self.mem.iter().any(|region| {
            let offset = start.addr().checked_sub(region.as_ptr().addr());
            let end = offset.and_then(|offset| offset.checked_add(len));
            end.is_some_and(|end| end as u64 <= region.len())
        })
    }

    /// From `start` on, how many bytes have the same fate, and whether they are to be copied.
    fn fate(&self, start: usize) -> (usize, bool) {
        let next = self.copied.iter().find(|stretch| start < stretch.end);
        match next {
            Some(stretch) if stretch.contains(&start) => (stretch.end - start, true),
            Some(stretch) => (stretch.start - start, false),
            None => (usize::MAX, false),
        }
    }

    /// Maps what comes next in the file, as far as it can be; bytes mapped.
    fn map<B: BitmapSlice>(&mut self, slice: &VolatileSlice<'_, B>) -> io::Result<usize> {
        let offset = self.file.stream_position()?;
        let left = self.file.metadata()?.len().saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(slice.len());
        let len = len / PAGE * PAGE;
        let start = slice.ptr_guard_mut();
        let aligned =
            start.as_ptr().addr().is_multiple_of(PAGE) && offset.is_multiple_of(PAGE as u64);
        if len == 0 || !aligned || !self.is_guests(start.as_ptr(), len) {
            return Ok(0);
        }
        // SAFETY: the pages are guest memory, as was checked, which nobody holds references into; they
        // stay mapped and writable, with other bytes in them.
        unsafe { replace(start.as_ptr(), len, self.file.as_fd(), offset) }?;
        self.file.seek(SeekFrom::Start(offset + len as u64))?;
        Ok(len)
    }
}

impl ReadVolatile for Lender<'_> {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        slice: &mut VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        let mut done = 0;
        // Guest memory asks once for all of it.
        while done < slice.len() {
            let rest = slice.offset(done)?;
            let (len, copied) = self.fate(rest.ptr_guard_mut().as_ptr().addr());
            let mut run = rest.subslice(0, len.min(rest.len()))?;
            let mapped = match copied {
                true => 0,
                false => self.map(&run).map_err(VolatileMemoryError::IOError)?,
            };
            let count = match mapped {
                0 => self.file.read_volatile(&mut run)?,
                mapped => mapped,
            };
            if count == 0 {
                break;
            }
            done += count;
        }
        Ok(done)
    }
}

impl Read for Lender<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for Lender<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

/// Puts pages of a file in the place of memory.
///
/// # Safety
/// `start` and `len` are whole pages of a private mapping, into which there are no references.
unsafe fn replace(start: *mut u8, len: usize, file: BorrowedFd<'_>, offset: u64) -> io::Result<()> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    // SAFETY: the caller's promise: these pages may be given up.
    let mapped = unsafe { mmap(start.cast(), len, protection, flags, file, offset) }?;
    assert!(ptr::eq(mapped.cast(), start), "MAP_FIXED says where");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    #[test]
    fn what_is_lent_is_what_would_be_copied() {
        let bytes: Vec<u8> = (0..=250).cycle().take(PAGE * 4 + 100).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        // From where in the file, to where in memory, how much: aligned, not aligned, a tail.
        for (offset, address, len) in [
            (0, 0, PAGE * 4 + 100),
            (PAGE, PAGE * 2, PAGE * 2 + 1),
            (PAGE, PAGE * 2 + 8, PAGE * 2),
            (8, PAGE, PAGE * 2),
            (PAGE, PAGE, 100),
        ] {
            let mem = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), PAGE * 8)]).unwrap();
            let first = mem.get_slice(GuestAddress(0), 1).unwrap();
            let base = first.ptr_guard_mut().as_ptr().addr();
            let copied = base + PAGE..base + PAGE * 2;
            let mut lender = Lender::new(&file, &mem, vec![copied]);
            lender.seek(SeekFrom::Start(offset as u64)).unwrap();
            let address = GuestAddress(address as u64);
            mem.read_exact_volatile_from(address, &mut lender, len)
                .unwrap();
            let mut read = vec![0; len];
            mem.read_slice(&mut read, address).unwrap();
            assert_eq!(read, bytes[offset..offset + len]);
            assert_eq!(lender.stream_position().unwrap(), (offset + len) as u64);
            // A guest that writes writes to its own copy, and nothing lies behind the end.
            mem.write_slice(&[0xff; 16], address).unwrap();
            let behind = GuestAddress(address.0 + len as u64);
            assert_eq!(mem.read_obj::<u64>(behind).unwrap(), 0);
        }
        let mut unchanged = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut unchanged).unwrap();
        assert_eq!(unchanged, bytes);
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; PAGE + 5]).unwrap();
        let mem = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), PAGE * 4)]).unwrap();
        file.rewind().unwrap();
        let mut lender = Lender::new(&file, &mem, Vec::new());
        let read = mem.read_exact_volatile_from(GuestAddress(0), &mut lender, PAGE * 2);
        assert!(read.is_err());
    }

    #[test]
    fn memory_that_is_not_the_guests_is_only_written() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; PAGE * 4]).unwrap();
        file.rewind().unwrap();
        let mem = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), PAGE * 4)]).unwrap();
        let mut other = vec![0; PAGE * 3];
        let start = other.as_ptr().align_offset(PAGE);
        let slice = VolatileSlice::from(&mut other[start..start + PAGE]);
        let mut lender = Lender::new(&file, &mem, Vec::new());
        assert_eq!(lender.map(&slice).unwrap(), 0);
        lender
            .read_exact_volatile(&mut slice.offset(0).unwrap())
            .unwrap();
        assert_eq!(other[start..start + PAGE], [7; PAGE]);
    }
}
