//! Memory of this process: anonymous, or a file's.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::slice;

use super::check;

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Pages that the kernel may hand out together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Each by a fault of its own.
    Small,
    /// Huge ones wherever the kernel has them.
    Huge,
}

/// Anonymous memory that nobody has touched yet, or a file's; given back when dropped.
#[derive(Debug)]
pub struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes, a multiple of [`PAGE`].
    pub fn new(len: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: without MAP_FIXED the kernel chooses addresses that nobody uses.
        let at = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { at, len })
    }

    /// Maps the first `len` bytes of `file`, which it has: what is written here is written there.
    pub fn of(file: &File, len: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let fd = file.as_raw_fd();
        // SAFETY: without MAP_FIXED the kernel chooses addresses that nobody uses.
        let at = unsafe { libc::mmap(ptr::null_mut(), len, access, libc::MAP_SHARED, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { at, len })
    }

    /// Says which pages to use. A kernel without huge pages has small ones: no error.
    pub fn prefer(&mut self, pages: Pages) {
        let advice = match pages {
            Pages::Small => libc::MADV_NOHUGEPAGE,
            Pages::Huge => libc::MADV_HUGEPAGE,
        };
        let _unknown = self.advise(advice);
    }

    /// Has every page there, by one call where the kernel knows it (5.14), else by touching.
    pub fn fill(&mut self) {
        if self.advise(libc::MADV_POPULATE_WRITE).is_err() {
            self.touch();
        }
    }

    /// Writes a byte into every page.
    pub fn touch(&mut self) {
        for offset in (0..self.len).step_by(PAGE) {
            // SAFETY: `offset` is inside of the mapping.
            let byte = unsafe { self.at.add(offset) };
            // SAFETY: the byte is in mapped, writable memory that this value owns.
            unsafe { byte.write_volatile(1) };
        }
    }

    /// All of it.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `len` bytes from `at` are mapped and writable, and borrowed through `self` only.
        unsafe { slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }

    /// All of it, eight bytes each.
    pub fn words(&mut self) -> &mut [u64] {
        let count = self.len / size_of::<u64>();
        let at = self.at.cast::<u64>();
        // SAFETY: as for `bytes`; a page is aligned for any integer, and every bit pattern is one.
        unsafe { slice::from_raw_parts_mut(at.as_ptr(), count) }
    }

    fn advise(&mut self, advice: c_int) -> io::Result<()> {
        // SAFETY: the range is this mapping, and none of the advices used takes contents away.
        check(unsafe { libc::madvise(self.at.as_ptr().cast(), self.len, advice) }).map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows it any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}
