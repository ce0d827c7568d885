//! The stitched disk: files end to end, each padded with zeros, read as one.
//!
//! ```text
//! │ file 0 ····0000 │ file 1 ········00 │ file 2 ·····0 │
//! 0                 end of piece 0      end of piece 1
//! ```

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use vm_memory::volatile_memory::VolatileSlice;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, ReadVolatile};

use super::request::SECTOR;
use crate::devices::virtio::chain::{Segment, length};

/// The disk's end lies before the end of what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange;

/// One file of the disk.
#[derive(Debug)]
struct Piece {
    file: File,
    end: u64,
}

/// The disk.
#[derive(Debug)]
pub struct Stitched {
    pieces: Vec<Piece>,
}

/// Part of one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    piece: usize,
    offset: u64,
    len: usize,
}

impl Stitched {
    /// Stitches `pieces`: a file, and the bytes that it takes on the disk.
    pub fn new(pieces: Vec<(File, u64)>) -> Self {
        let mut end = 0;
        let pieces = pieces.into_iter().map(|(file, len)| {
            end += len;
            Piece { file, end }
        });
        Self {
            pieces: pieces.collect(),
        }
    }

    /// Sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.end / SECTOR)
    }

    /// Reads from byte `offset` into guest memory. What a file lacks of its piece reads as zeros.
    pub fn read(&self, mem: &GuestMemoryMmap, offset: u64, into: &[Segment]) -> io::Result<()> {
        let mut at = offset;
        for segment in into {
            let len = length(*segment);
            let target = mem
                .get_slice(segment.address, len)
                .map_err(io::Error::other)?;
            let mut done = 0;
            for span in self
                .spans(at, len)
                .map_err(|OutOfRange| io::ErrorKind::InvalidInput)?
            {
                let part = target.subslice(done, span.len).map_err(io::Error::other)?;
                self.fill(span, part)?;
                done += span.len;
            }
            at += len as u64;
        }
        Ok(())
    }

    /// The parts of pieces that hold `len` bytes from `offset` on.
    fn spans(&self, offset: u64, len: usize) -> Result<Vec<Span>, OutOfRange> {
        let (mut at, mut left) = (offset, len);
        let mut spans = Vec::new();
        let first = self.pieces.partition_point(|piece| piece.end <= offset);
        for (index, piece) in self.pieces.iter().enumerate().skip(first) {
            if left == 0 {
                break;
            }
            let start = if index == 0 {
                0
            } else {
                self.pieces[index - 1].end
            };
            let take = usize::try_from(piece.end - at)
                .unwrap_or(usize::MAX)
                .min(left);
            spans.push(Span {
                piece: index,
                offset: at - start,
                len: take,
            });
            (at, left) = (at + take as u64, left - take);
        }
        if left == 0 {
            Ok(spans)
        } else {
            Err(OutOfRange)
        }
    }

    fn fill(&self, span: Span, mut target: VolatileSlice<'_>) -> io::Result<()> {
        // The device is the only reader of this description of the file, and one thread.
        let mut file = &self.pieces[span.piece].file;
        file.seek(SeekFrom::Start(span.offset))?;
        while !target.is_empty() {
            let count = file.read_volatile(&mut target).map_err(io::Error::other)?;
            if count == 0 {
                target.copy_from(&vec![0u8; target.len()]);
                break;
            }
            target = target.offset(count).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn disk() -> Stitched {
        Stitched::new(vec![
            (file(&[1; 600]), 4096),
            (file(&[2; 4096]), 4096),
            (file(&[]), 4096),
        ])
    }

    #[test]
    fn reads_cross_pieces_and_see_padding_as_zeros() {
        let mem = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        mem.write_slice(&[0xff; 0x4000], GuestAddress(0)).unwrap();
        let into = [
            Segment {
                address: GuestAddress(0),
                len: 1024,
            },
            Segment {
                address: GuestAddress(0x1000),
                len: 8192,
            },
        ];
        disk().read(&mem, 0, &into).unwrap();
        let byte = |address| mem.read_obj::<u8>(GuestAddress(address)).unwrap();
        let seen = [byte(599), byte(600), byte(1023), byte(1024)];
        assert_eq!(seen, [1, 0, 0, 0xff]);
        let at = |disk_offset: u64| byte(0x1000 + disk_offset - 1024);
        assert_eq!(
            [at(4095), at(4096), at(8191), at(8192), at(9215)],
            [0, 2, 2, 0, 0]
        );
    }

    #[test]
    fn nothing_lies_beyond_the_end() {
        let disk = disk();
        assert_eq!(disk.sectors(), 24);
        assert_eq!(disk.spans(12288, 0), Ok(vec![]));
        assert_eq!(disk.spans(12287, 2), Err(OutOfRange));
        assert_eq!(disk.spans(u64::MAX, 1), Err(OutOfRange));
    }
}
