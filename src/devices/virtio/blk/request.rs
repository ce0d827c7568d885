//! A block request (virtio 1.2, 5.2.6): parsed and checked, nothing done.
//!
//! ```text
//! readable: │ type u32 │ reserved u32 │ sector u64 │ data to write, or ranges … │
//! writable: │ data read … │ status u8 │
//! a range:  │ sector u64 │ sectors u32 │ flags u32 │
//! ```

use std::io;

use crate::devices::virtio::chain::{Chain, Segment, broken, split, total};
use crate::devices::virtio::pace::{Demand, Way};
use vm_memory::GuestMemoryMmap;

/// Bytes of a sector, whatever the block size.
pub const SECTOR: u64 = 512;

/// VIRTIO_BLK_T_*: request types.
const T_IN: u32 = 0;
const T_OUT: u32 = 1;
const T_FLUSH: u32 = 4;
const T_GET_ID: u32 = 8;
const T_DISCARD: u32 = 11;
const T_WRITE_ZEROES: u32 = 13;

/// Bytes of the header.
const HEADER: usize = 16;

/// Bytes of a range, and most of them in a request.
const RANGE: usize = 16;
pub const MAX_RANGES: u32 = 64;

/// Bytes of the answer to GET_ID.
pub const ID_LEN: usize = 20;

/// What the driver wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Read from this byte of the disk into these segments.
    Read {
        /// First byte of the disk.
        offset: u64,
        /// Where to.
        into: Vec<Segment>,
    },
    /// Write these segments from this byte of the disk on.
    Write {
        /// First byte of the disk.
        offset: u64,
        /// Where from.
        from: Vec<Segment>,
    },
    /// Bring everything that was written to the disk itself.
    Flush,
    /// Nobody needs what is there.
    Discard(Vec<Range>),
    /// There are zeros from now on.
    Zero(Vec<Range>),
    /// Say the disk's name.
    Identify,
    /// Something that no disk of husk's does.
    Unsupported,
}

/// A run of bytes of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Its first byte.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// A request, and where its status goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The request.
    pub request: Request,
    /// Bytes of the writable part before the status byte.
    pub data_len: usize,
}

impl Request {
    /// What it takes of the pace at which the disk is used: a flush nothing, and what is discarded no bytes.
    pub fn demand(&self) -> Option<Demand> {
        let (way, bytes) = match self {
            Self::Read { into, .. } => (Way::Read, total(into) as u64),
            Self::Write { from, .. } => (Way::Write, total(from) as u64),
            Self::Discard(_) => (Way::Write, 0),
            Self::Zero(ranges) => {
                let lens = ranges.iter().map(|range| range.len);
                (Way::Write, lens.fold(0, u64::saturating_add))
            }
            Self::Flush | Self::Identify | Self::Unsupported => return None,
        };
        Some(Demand { way, bytes })
    }
}

/// Parses a chain. A chain that is no request at all is an error; a request that cannot be served
/// is [`Request::Unsupported`].
pub fn parse(chain: &Chain, mem: &GuestMemoryMmap) -> io::Result<Parsed> {
    let mut header = [0; HEADER];
    chain.read(mem, &mut header)?;
    let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = header;
    let writable = total(&chain.writable);
    let data_len = writable
        .checked_sub(1)
        .ok_or_else(|| broken("no room for a status"))?;
    let offset = u64::from_le_bytes(sector).checked_mul(SECTOR);
    let request = match (u32::from_le_bytes([t0, t1, t2, t3]), offset) {
        (T_IN, Some(offset)) => Request::Read {
            offset,
            into: split(&chain.writable, 0, data_len)?,
        },
        (T_OUT, Some(offset)) => Request::Write {
            offset,
            from: split(&chain.readable, HEADER, payload(chain))?,
        },
        (T_FLUSH, _) => Request::Flush,
        (T_GET_ID, _) if data_len >= ID_LEN => Request::Identify,
        (T_DISCARD, _) => read_ranges(chain, mem)?.map_or(Request::Unsupported, Request::Discard),
        (T_WRITE_ZEROES, _) => read_ranges(chain, mem)?.map_or(Request::Unsupported, Request::Zero),
        _ => Request::Unsupported,
    };
    Ok(Parsed { request, data_len })
}

/// Bytes behind the header.
fn payload(chain: &Chain) -> usize {
    total(&chain.readable).saturating_sub(HEADER)
}

/// The ranges behind the header; `None` when they are none, or too many, or beyond any disk.
fn read_ranges(chain: &Chain, mem: &GuestMemoryMmap) -> io::Result<Option<Vec<Range>>> {
    let len = payload(chain);
    let most = RANGE * usize::try_from(MAX_RANGES).expect("a usize has 64 bits");
    if len == 0 || !len.is_multiple_of(RANGE) || len > most {
        return Ok(None);
    }
    let mut bytes = vec![0; HEADER + len];
    chain.read(mem, &mut bytes)?;
    let (ranges, _) = bytes[HEADER..].as_chunks::<RANGE>();
    let range = |bytes: &[u8; RANGE]| {
        let [sector @ .., n0, n1, n2, n3, _, _, _, _] = *bytes;
        let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
        Some(Range {
            offset: u64::from_le_bytes(sector).checked_mul(SECTOR)?,
            len: u64::from(sectors) * SECTOR,
        })
    };
    Ok(ranges.iter().map(range).collect())
}
