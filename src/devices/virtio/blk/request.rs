//! A block request (virtio 1.2, 5.2.6): parsed and checked, nothing done.
//!
//! ```text
//! readable: │ type u32 │ reserved u32 │ sector u64 │ data to write … │
//! writable: │ data read … │ status u8 │
//! ```

use std::io;

use crate::devices::virtio::chain::{Chain, Segment, broken, split, total};
use vm_memory::GuestMemoryMmap;

/// Bytes of a sector, whatever the block size.
pub const SECTOR: u64 = 512;

/// VIRTIO_BLK_T_*: request types.
const T_IN: u32 = 0;
const T_GET_ID: u32 = 8;

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
    /// Say the disk's name.
    Identify,
    /// Something that a read-only disk does not do.
    Unsupported,
}

/// A request, and where its status goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The request.
    pub request: Request,
    /// Bytes of the writable part before the status byte.
    pub data_len: usize,
}

/// Parses a chain. A chain that is no request at all is an error; a request that cannot be served
/// is [`Request::Unsupported`].
pub fn parse(chain: &Chain, mem: &GuestMemoryMmap) -> io::Result<Parsed> {
    let mut header = [0; 16];
    chain.read(mem, &mut header)?;
    let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = header;
    let writable = total(&chain.writable);
    let data_len = writable
        .checked_sub(1)
        .ok_or_else(|| broken("no room for a status"))?;
    let sector = u64::from_le_bytes(sector);
    let request = match u32::from_le_bytes([t0, t1, t2, t3]) {
        T_IN => match sector.checked_mul(SECTOR) {
            Some(offset) => Request::Read {
                offset,
                into: split(&chain.writable, 0, data_len)?,
            },
            None => Request::Unsupported,
        },
        T_GET_ID if data_len >= ID_LEN => Request::Identify,
        _ => Request::Unsupported,
    };
    Ok(Parsed { request, data_len })
}
