//! A descriptor chain, split into what the device reads and what it writes.

use std::io;

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueOwnedT};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryMmap};

use crate::kvm::memory::Mem;

/// A run of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where.
    pub address: GuestAddress,
    /// How many bytes.
    pub len: u32,
}

/// One chain, taken from a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Number to return it by.
    pub head: u16,
    /// What the driver wrote for us.
    pub readable: Vec<Segment>,
    /// What we may write.
    pub writable: Vec<Segment>,
}

impl Chain {
    /// The next chain of `queue`; `None` when there is none. A chain whose writable part does not
    /// come last is an error (virtio 1.2, 2.7.4.2), and so is an available ring that claims more
    /// chains than the queue has: taken for an empty one, it would be looked into for ever.
    pub fn pop(queue: &mut Queue, mem: &Mem) -> io::Result<Option<Self>> {
        let available = queue.iter(&**mem);
        let mut available = available.map_err(|_| broken("an available ring out of bounds"))?;
        let Some(descriptors) = available.next() else {
            return Ok(None);
        };
        let head = descriptors.head_index();
        let mut chain = Self {
            head,
            readable: Vec::new(),
            writable: Vec::new(),
        };
        for descriptor in descriptors {
            chain.push(descriptor)?;
        }
        Ok(Some(chain))
    }

    fn push(&mut self, descriptor: Descriptor) -> io::Result<()> {
        let segment = Segment {
            address: descriptor.addr(),
            len: descriptor.len(),
        };
        if descriptor.is_write_only() {
            self.writable.push(segment);
        } else if self.writable.is_empty() {
            self.readable.push(segment);
        } else {
            return Err(broken("a readable descriptor behind a writable one"));
        }
        Ok(())
    }

    /// Fills `bytes` from the start of the readable part; what is too short is an error.
    pub fn read(&self, mem: &GuestMemoryMmap, bytes: &mut [u8]) -> io::Result<()> {
        let mut rest = bytes;
        for part in split(&self.readable, 0, rest.len())? {
            let (now, later) = rest.split_at_mut(length(part));
            mem.read_slice(now, part.address)
                .map_err(|_| broken("a buffer outside of memory"))?;
            rest = later;
        }
        Ok(())
    }

    /// Writes `bytes` at `offset` of the writable part; what does not fit is an error.
    pub fn write(&self, mem: &GuestMemoryMmap, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        for part in split(&self.writable, offset, rest.len())? {
            let (now, later) = rest.split_at(length(part));
            mem.write_slice(now, part.address)
                .map_err(|_| broken("a buffer outside of memory"))?;
            rest = later;
        }
        Ok(())
    }
}

/// Bytes of all segments together.
pub fn total(segments: &[Segment]) -> usize {
    segments.iter().map(|segment| length(*segment)).sum()
}

/// Bytes of one segment.
pub fn length(segment: Segment) -> usize {
    usize::try_from(segment.len).expect("a usize has 64 bits")
}

/// The segments that hold `len` bytes from `offset` on; what is too short is an error.
pub fn split(segments: &[Segment], offset: usize, len: usize) -> io::Result<Vec<Segment>> {
    let (mut skip, mut left) = (offset, len);
    let mut parts = Vec::new();
    for segment in segments {
        let whole = length(*segment);
        if skip >= whole {
            skip -= whole;
            continue;
        }
        let take = (whole - skip).min(left);
        if take > 0 {
            let address = segment.address.checked_add(skip as u64);
            let address = address.ok_or_else(|| broken("a buffer beyond the end of memory"))?;
            let len = u32::try_from(take).expect("part of a segment of 32 bits");
            parts.push(Segment { address, len });
        }
        (skip, left) = (0, left - take);
    }
    if left == 0 {
        Ok(parts)
    } else {
        Err(broken("a chain that is too short"))
    }
}

/// An error that says how the driver broke the protocol.
pub fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_what_lies_between_two_offsets() {
        let segment = |address, len| Segment {
            address: GuestAddress(address),
            len,
        };
        let segments = [
            segment(0x1000, 10),
            segment(0x2000, 20),
            segment(0x3000, 30),
        ];
        assert_eq!(total(&segments), 60);
        let parts = split(&segments, 5, 30).unwrap();
        assert_eq!(
            parts,
            [segment(0x1005, 5), segment(0x2000, 20), segment(0x3000, 5)]
        );
        assert_eq!(split(&segments, 60, 0).unwrap(), []);
        assert!(split(&segments, 50, 11).is_err());
        assert!(split(&[segment(u64::MAX, 9)], 5, 1).is_err());
    }
}
