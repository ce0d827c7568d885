//! A writable disk: one sparse file, which takes space of the host's where something was written, and
//! gives it back where that is discarded.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, ReadVolatile, WriteVolatile};

use super::request::{Range, SECTOR};
use super::stitched::OutOfRange;
use crate::devices::virtio::chain::{Segment, length, total};

/// Bytes of zeros written at once, where the host cannot punch holes.
const ZEROS: usize = 64 << 10;

/// The disk. Nobody else has this description of its file, and one thread uses it.
#[derive(Debug)]
pub struct Sparse {
    file: File,
    len: u64,
}

impl Sparse {
    /// The first `len` bytes of `file`, which is that long.
    pub fn new(file: File, len: u64) -> Self {
        Self { file, len }
    }

    /// Sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.len / SECTOR
    }

    /// Reads from byte `offset` into guest memory.
    pub fn read(&mut self, mem: &GuestMemoryMmap, offset: u64, into: &[Segment]) -> io::Result<()> {
        self.seek(offset, total(into) as u64)?;
        for segment in into {
            let slice = mem.get_slice(segment.address, length(*segment));
            let mut slice = slice.map_err(io::Error::other)?;
            self.file
                .read_exact_volatile(&mut slice)
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Writes guest memory from byte `offset` on.
    pub fn write(
        &mut self,
        mem: &GuestMemoryMmap,
        offset: u64,
        from: &[Segment],
    ) -> io::Result<()> {
        self.seek(offset, total(from) as u64)?;
        for segment in from {
            let slice = mem.get_slice(segment.address, length(*segment));
            let slice = slice.map_err(io::Error::other)?;
            self.file
                .write_all_volatile(&slice)
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Comes back when what was written is on the host's disk.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives the host the space of `range` back. A host that cannot take it keeps it.
    pub fn discard(&self, range: Range) -> io::Result<()> {
        match self.punch(range) {
            Err(Errno::OPNOTSUPP) => Ok(()),
            punched => Ok(punched?),
        }
    }

    /// Makes `range` zeros.
    pub fn zero(&mut self, range: Range) -> io::Result<()> {
        match self.punch(range) {
            Err(Errno::OPNOTSUPP) => self.write_zeros(range),
            punched => Ok(punched?),
        }
    }

    fn punch(&self, range: Range) -> Result<(), Errno> {
        self.check(range.offset, range.len)
            .map_err(|_| Errno::INVAL)?;
        if range.len == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, flags, range.offset, range.len)
    }

    fn write_zeros(&mut self, range: Range) -> io::Result<()> {
        self.seek(range.offset, range.len)?;
        let zeros = io::Read::take(io::repeat(0), range.len);
        let mut buffered = io::BufReader::with_capacity(ZEROS, zeros);
        io::copy(&mut buffered, &mut self.file).map(drop)
    }

    fn seek(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.check(offset, len)
            .map_err(|OutOfRange| io::ErrorKind::InvalidInput)?;
        self.file.seek(SeekFrom::Start(offset)).map(drop)
    }

    fn check(&self, offset: u64, len: u64) -> Result<(), OutOfRange> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(OutOfRange),
        }
    }
}
