//! A layer's blob: file contents end to end, each at a multiple of the block size.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use super::error::Fault;
use super::layer::Spoilt;
use super::tar::{Extent, TarError};
use super::tree::BLOCK;

/// Bytes collected before they are written.
const BUFFER: usize = 1 << 20;

/// Bytes copied at once.
const CHUNK: usize = 64 << 10;

const ZEROS: [u8; 4096] = [0; 4096];

/// Writes a blob. Holes of sparse files stay holes.
#[derive(Debug)]
pub struct BlobWriter {
    out: BufWriter<File>,
    end: u64,
    chunk: Vec<u8>,
}

impl BlobWriter {
    /// Into an empty file.
    pub fn new(file: File) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER, file),
            end: 0,
            chunk: vec![0; CHUNK],
        }
    }

    /// Appends `size` bytes; gives where they begin, 0 if there are none.
    pub fn append(&mut self, from: &mut impl Read, size: u64) -> Result<u64, Spoilt> {
        if size == 0 {
            return Ok(0);
        }
        let start = self.align().map_err(Fault::Store)?;
        self.copy(from, size)?;
        Ok(start)
    }

    /// Appends a sparse file of `size` bytes.
    pub fn append_sparse(
        &mut self,
        from: &mut impl Read,
        extents: &[Extent],
        size: u64,
    ) -> Result<u64, Spoilt> {
        if size == 0 {
            return Ok(0);
        }
        let start = self.align().map_err(Fault::Store)?;
        for extent in extents {
            self.skip_to(start + extent.offset).map_err(Fault::Store)?;
            self.copy(from, extent.len)?;
        }
        self.skip_to(start + size).map_err(Fault::Store)?;
        Ok(start)
    }

    /// Finishes the blob and gives its length, a multiple of the block size.
    pub fn finish(mut self) -> io::Result<u64> {
        let len = self.end.next_multiple_of(BLOCK);
        self.out.flush()?;
        self.out.get_ref().set_len(len)?;
        Ok(len)
    }

    fn align(&mut self) -> io::Result<u64> {
        let start = self.end.next_multiple_of(BLOCK);
        let padding = usize::try_from(start - self.end).expect("less than a block");
        self.out.write_all(&ZEROS[..padding])?;
        self.end = start;
        Ok(start)
    }

    fn skip_to(&mut self, end: u64) -> io::Result<()> {
        if end > self.end {
            self.out.seek(SeekFrom::Start(end))?;
            self.end = end;
        }
        Ok(())
    }

    fn copy(&mut self, from: &mut impl Read, size: u64) -> Result<(), Spoilt> {
        let mut left = size;
        while left > 0 {
            let limit = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            match from.read(&mut self.chunk[..limit]) {
                Ok(0) => return Err(TarError::Io(io::ErrorKind::UnexpectedEof.into()).into()),
                Ok(count) => {
                    self.out
                        .write_all(&self.chunk[..count])
                        .map_err(Fault::Store)?;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Io(error).into()),
            }
        }
        self.end += size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn contents_begin_at_blocks_and_holes_take_no_space() {
        let file = tempfile::tempfile().unwrap();
        let mut blob = BlobWriter::new(file.try_clone().unwrap());
        let at = |result: Result<u64, Spoilt>| result.unwrap();
        assert_eq!(at(blob.append(&mut &b"abc"[..], 3)), 0);
        assert_eq!(at(blob.append(&mut &b""[..], 0)), 0);
        let extents = [Extent {
            offset: 1 << 20,
            len: 2,
        }];
        assert_eq!(
            at(blob.append_sparse(&mut &b"xy"[..], &extents, 2 << 20)),
            4096
        );
        let next = 4096 + (2 << 20);
        assert_eq!(at(blob.append(&mut &b"z"[..], 1)), next);
        assert_eq!(blob.finish().unwrap(), next + 4096);
        let mut byte = [0; 2];
        file.read_exact_at(&mut byte, 4096 + (1 << 20)).unwrap();
        assert_eq!(&byte, b"xy");
        assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20);
    }
}
