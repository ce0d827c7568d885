//! A descriptor chain, split into what the device reads and what it writes.

use std::io;
use std::num::Wrapping;
use std::sync::atomic::Ordering;

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{
    Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileMemory, VolatileRef,
    VolatileSlice,
};

use crate::kvm::memory::Mem;

/// Bytes of a descriptor (2.7.5).
const ENTRY: u32 = 16;

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
        Waiting::of(queue, mem)?.take()
    }

    /// Takes the descriptors from the chain's head on (2.7.5), which is in `table`, of `size` entries. It ends where it leads
    /// out of its table, or has more bytes than 32 bits can say.
    fn follow<'a>(
        &mut self,
        mut table: Option<VolatileSlice<'a>>,
        size: u16,
        mem: &'a GuestMemoryMmap,
    ) -> io::Result<()> {
        let (mut next, mut is_indirect, mut bytes) = (usize::from(self.head), false, 0u32);
        let mut left = size;
        while left > 0
            && let Some(entry) = table.as_ref().and_then(|table| entry(table, next))
        {
            let descriptor = entry.load();
            if descriptor.refers_to_indirect_table() {
                table = (!is_indirect).then(|| indirect(mem, descriptor)).flatten();
                // Of a table's length: it is whole, and a chain of more leads in a circle.
                left = u16::try_from(descriptor.len() / ENTRY).unwrap_or(0);
                (next, is_indirect) = (0, true);
                continue;
            }
            let Some(sum) = bytes.checked_add(descriptor.len()) else {
                break;
            };
            self.push(descriptor)?;
            if !descriptor.has_next() {
                break;
            }
            (next, left, bytes) = (descriptor.next().into(), left - 1, sum);
        }
        Ok(())
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
        if let (0, Some(first)) = (offset, self.writable.first())
            && length(*first) >= bytes.len()
        {
            let written = mem.write_slice(bytes, first.address);
            return written.map_err(|_| broken("a buffer outside of memory"));
        }
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

/// What a driver has made available of a queue. Where its parts are is looked up once, and not for each of many chains, nor for
/// each descriptor: a frame has twenty.
#[derive(Debug)]
pub struct Waiting<'a> {
    queue: &'a mut Queue,
    mem: &'a GuestMemoryMmap,
    /// The entries of the available ring.
    ring: VolatileSlice<'a>,
    table: Option<VolatileSlice<'a>>,
    /// How many there are.
    count: u16,
}

impl<'a> Waiting<'a> {
    /// Of `queue`, now; errors as of [`Chain::pop`].
    pub fn of(queue: &'a mut Queue, mem: &'a GuestMemoryMmap) -> io::Result<Self> {
        let outside = || broken("an available ring out of bounds");
        let index = queue.avail_idx(mem, Ordering::Acquire);
        let index = index.map_err(|_| outside())?;
        let count = (index - Wrapping(queue.next_avail())).0;
        if !queue.ready() || count > queue.size() {
            return Err(outside());
        }
        // Entries of 2 bytes behind a header of 4 (2.7.6).
        let start = GuestAddress(queue.avail_ring().saturating_add(4));
        let ring = mem.get_slice(start, 2 * usize::from(queue.size()));
        Ok(Self {
            ring: ring.map_err(|_| outside())?,
            table: table(mem, queue.desc_table(), queue.size().into()),
            queue,
            mem,
            count,
        })
    }

    /// The next one.
    pub fn take(&mut self) -> io::Result<Option<Chain>> {
        let Some(left) = self.count.checked_sub(1) else {
            return Ok(None);
        };
        let (next, size) = (self.queue.next_avail(), self.queue.size());
        let head = self.ring.get_ref::<u16>(2 * usize::from(next % size));
        let head = head.map_err(|_| broken("an available ring out of bounds"))?;
        let mut chain = Chain {
            head: head.load(),
            readable: Vec::new(),
            writable: Vec::new(),
        };
        self.queue.set_next_avail(next.wrapping_add(1));
        self.count = left;
        chain.follow(self.table, size, self.mem)?;
        Ok(Some(chain))
    }
}

/// Where `count` descriptors are, if all of that is memory.
fn table(mem: &GuestMemoryMmap, start: u64, count: u32) -> Option<VolatileSlice<'_>> {
    let bytes = usize::try_from(count.checked_mul(ENTRY)?).ok()?;
    mem.get_slice(GuestAddress(start), bytes).ok()
}

/// The table that `descriptor` is instead of (2.7.5.3): whole descriptors, as many as 16 bits can say.
fn indirect(mem: &GuestMemoryMmap, descriptor: Descriptor) -> Option<VolatileSlice<'_>> {
    let count = descriptor.len() / ENTRY;
    let is_whole = descriptor.len().is_multiple_of(ENTRY) && count <= u16::MAX.into();
    is_whole.then(|| table(mem, descriptor.addr().0, count))?
}

/// Number `index` of a table, if it has as many.
fn entry<'a>(table: &'a VolatileSlice<'_>, index: usize) -> Option<VolatileRef<'a, Descriptor>> {
    table.get_ref(index * size_of::<Descriptor>()).ok()
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
    let mut parts = Vec::with_capacity(segments.len().min(4));
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
    use std::sync::Arc;

    use super::*;

    const NEXT: u16 = 1;
    const WRITE: u16 = 2;
    const INDIRECT: u16 = 4;

    /// Where the tables of a queue of four entries are, and another one.
    const TABLE: u64 = 0x1000;
    const OTHER: u64 = 0x2000;
    const AVAILABLE: u64 = 0x3000;
    const END: u64 = 0x8000;

    /// An entry: address, length, flags, next.
    type Entry = (u64, u32, u16, u16);

    /// What is popped from a queue with these tables, whose only chain begins at `head`.
    fn popped(head: u16, entries: &[Entry], others: &[Entry]) -> io::Result<Option<Chain>> {
        let mem = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x8000)]).unwrap();
        for (start, entries) in [(TABLE, entries), (OTHER, others)] {
            for (at, (address, len, flags, next)) in (0..).step_by(16).zip(entries) {
                let entry = Descriptor::new(*address, *len, *flags, *next);
                mem.write_obj(entry, GuestAddress(start + at)).unwrap();
            }
        }
        let available: [u16; 3] = [0, 1, head];
        mem.write_obj(available, GuestAddress(AVAILABLE)).unwrap();
        let mut queue = Queue::new(4).unwrap();
        queue.set_size(4);
        queue.set_desc_table_address(Some(0x1000), None);
        queue.set_avail_ring_address(Some(0x3000), None);
        queue.set_used_ring_address(Some(0x4000), None);
        queue.set_ready(true);
        let mem = Arc::new(mem);
        let chain = Chain::pop(&mut queue, &mem);
        assert!(matches!(Chain::pop(&mut queue, &mem), Ok(None)));
        chain
    }

    /// How many segments of each kind there are.
    fn counts(head: u16, entries: &[Entry], others: &[Entry]) -> (usize, usize) {
        let chain = popped(head, entries, others).unwrap().unwrap();
        assert_eq!(chain.head, head);
        (chain.readable.len(), chain.writable.len())
    }

    #[test]
    fn a_chain_is_followed_through_its_table_and_another() {
        let there = [
            (0x10, 1, NEXT, 3),
            (0, 0, 0, 0),
            (0, 0, 0, 0),
            (0x20, 2, WRITE, 0),
        ];
        assert_eq!(counts(0, &there, &[]), (1, 1));
        let others = [
            (0x10, 1, NEXT, 2),
            (0x30, 3, WRITE, 0),
            (0x20, 2, NEXT | WRITE, 1),
        ];
        let whole = (OTHER, 48, INDIRECT, 0);
        assert_eq!(counts(0, &[whole], &others), (1, 2));
        // Behind entries of its own, too; a readable one behind a writable one is none.
        assert_eq!(counts(1, &[whole, (0, 1, NEXT, 0)], &others), (2, 2));
        assert!(popped(1, &[whole, (0, 1, NEXT | WRITE, 0)], &others).is_err());
    }

    #[test]
    fn a_chain_that_leads_nowhere_ends() {
        // In a circle: after as many entries as there are.
        assert_eq!(counts(0, &[(0, 1, NEXT, 1), (0, 1, NEXT, 0)], &[]), (4, 0));
        let circle = [(0, 1, NEXT, 1), (0, 1, NEXT, 0)];
        assert_eq!(counts(0, &[(OTHER, 32, INDIRECT, 0)], &circle), (2, 0));
        // Out of its table, from the start or later.
        assert_eq!(counts(4, &[], &[]), (0, 0));
        assert_eq!(counts(0, &[(0, 1, NEXT, 4)], &[]), (1, 0));
        assert_eq!(
            counts(0, &[(OTHER, 32, INDIRECT, 0)], &[(0, 1, NEXT, 2)]),
            (1, 0)
        );
        // Tables in a table, of half an entry, of none, and outside of memory.
        let nested = [(OTHER, 32, INDIRECT, 0)];
        assert_eq!(counts(0, &nested, &nested), (0, 0));
        for (place, len) in [
            (OTHER, 40),
            (OTHER, 0),
            (END - 16, 32),
            (u64::MAX - 15, 32),
            (0, 1 << 21),
        ] {
            let table = [(place, len, INDIRECT, 0)];
            assert_eq!(counts(0, &table, &circle), (0, 0), "{place:x} {len}");
        }
        // More bytes than 32 bits can say.
        let long = [(0, u32::MAX, NEXT, 1), (0, 1, 0, 0)];
        assert_eq!(counts(0, &long, &[]), (1, 0));
    }

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
