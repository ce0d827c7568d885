//! What a command wrote, as much as fits.

use std::io::Write;

use crate::image::{Digest, Hasher};

/// Bytes that are kept of a stream.
pub(super) const MOST: usize = 16 << 20;

/// A stream's bytes; of those beyond [`MOST`] only their digest, which is enough to compare them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    kept: Vec<u8>,
    length: u64,
    rest: Option<Digest>,
}

impl Output {
    /// All of it is `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut capture = Capture::default();
        capture.push(bytes);
        capture.finish()
    }

    /// Its beginning: all of it, unless it is longer than what is kept.
    pub fn bytes(&self) -> &[u8] {
        &self.kept
    }

    /// Its whole length.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The digest of what was not kept.
    pub fn rest(&self) -> Option<Digest> {
        self.rest
    }
}

/// A stream that is not over.
#[derive(Debug, Default)]
pub(super) struct Capture {
    kept: Vec<u8>,
    length: u64,
    rest: Hasher,
}

impl Capture {
    /// More of it.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let fits = bytes.len().min(MOST - self.kept.len());
        let (kept, rest) = bytes.split_at(fits);
        self.kept.extend_from_slice(kept);
        self.length += bytes.len() as u64;
        self.rest
            .write_all(rest)
            .expect("a hash takes every byte and cannot fail");
    }

    /// That was all.
    pub(super) fn finish(self) -> Output {
        let is_longer = self.length > self.kept.len() as u64;
        Output {
            rest: is_longer.then(|| self.rest.finish()),
            kept: self.kept,
            length: self.length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_compared_to_its_last_byte_however_it_came() {
        let mut long = vec![b'x'; MOST + 5];
        let mut pieces = Capture::default();
        long.chunks(100_003).for_each(|piece| pieces.push(piece));
        let whole = Output::of(&long);
        assert_eq!(pieces.finish(), whole);
        assert_eq!(whole.bytes().len(), MOST);
        assert_eq!(whole.len(), MOST as u64 + 5);
        *long.last_mut().unwrap() = b'y';
        assert_ne!(Output::of(&long), whole);
        assert_eq!(Output::of(&long[..MOST]).rest(), None);
    }
}
