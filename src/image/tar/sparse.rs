//! Sparse files: which parts of them are data.

use std::io::Read;

use super::pax::decimal;
use super::{BLOCK, Bytes, Reader, TarError};

/// A part that is data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it is in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// Most extents of a file: 16 MiB of memory.
const MAX_EXTENTS: usize = 1 << 20;

const MALFORMED: TarError = TarError::Malformed("a sparse file with a malformed map");

/// Adds the extents of one header block.
pub fn push(extents: &mut Vec<Extent>, fields: &[tar::GnuSparseHeader]) -> Result<(), TarError> {
    for field in fields.iter().filter(|field| !field.is_empty()) {
        let offset = field.offset().map_err(|_| MALFORMED)?;
        let len = field.length().map_err(|_| MALFORMED)?;
        extents.push(Extent { offset, len });
    }
    if extents.len() > MAX_EXTENTS {
        Err(MALFORMED)
    } else {
        Ok(())
    }
}

/// Reads the map of PAX format 1.0, which stands before the data: numbers in lines, the first
/// being the count of extents, padded to whole blocks.
pub fn read_map<B: Bytes>(from: &mut Reader<B>) -> Result<Vec<Extent>, TarError> {
    let mut lines = Lines {
        from,
        block: [0; BLOCK],
        at: BLOCK,
    };
    let count = usize::try_from(lines.number()?)
        .ok()
        .filter(|count| *count <= MAX_EXTENTS);
    let mut extents = Vec::new();
    for _ in 0..count.ok_or(MALFORMED)? {
        extents.push(Extent {
            offset: lines.number()?,
            len: lines.number()?,
        });
    }
    Ok(extents)
}

struct Lines<'a, B> {
    from: &'a mut Reader<B>,
    block: [u8; BLOCK],
    at: usize,
}

impl<B: Bytes> Lines<'_, B> {
    fn number(&mut self) -> Result<u64, TarError> {
        const DIGITS: usize = 20;
        let mut digits = Vec::with_capacity(DIGITS);
        loop {
            if self.at == BLOCK {
                self.from.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return decimal(&digits).ok_or(MALFORMED),
                _ if digits.len() == DIGITS => return Err(MALFORMED),
                digit => digits.push(digit),
            }
        }
    }
}

/// Extents in order, inside the file, and as long together as the data.
pub fn check(extents: Vec<Extent>, size: u64, stored: u64) -> Result<Vec<Extent>, TarError> {
    let (mut end, mut total) = (0u64, 0u64);
    for extent in &extents {
        if extent.offset < end {
            return Err(MALFORMED);
        }
        end = extent.offset.checked_add(extent.len).ok_or(MALFORMED)?;
        total = total.checked_add(extent.len).ok_or(MALFORMED)?;
    }
    if end > size || total != stored {
        Err(MALFORMED)
    } else {
        Ok(extents)
    }
}
