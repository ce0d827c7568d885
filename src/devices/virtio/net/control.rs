//! Commands of the driver's to the network device as a whole (virtio 1.2, 5.1.6.5), of which there is one.

use std::io;

use crate::devices::virtio::chain::{Chain, broken, total};
use crate::kvm::memory::Mem;

/// VIRTIO_NET_CTRL_MQ, and of that VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET (5.1.6.5.5).
const CLASS_QUEUES: u8 = 4;
const SET_PAIRS: u8 = 0;

/// VIRTIO_NET_OK and VIRTIO_NET_ERR.
const OK: u8 = 0;
const ERROR: u8 = 1;

/// What a driver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// It uses so many pairs of queues from now on.
    UsePairs(u16),
    /// What nobody offered it.
    Unknown,
}

impl Command {
    /// Class, command, and what belongs to it. Where there is no room for an answer, that is an error.
    pub fn parse(chain: &Chain, mem: &Mem) -> io::Result<Self> {
        if total(&chain.writable) == 0 {
            return Err(broken("a command without room for its answer"));
        }
        let mut bytes = [0; 4];
        if total(&chain.readable) != bytes.len() {
            return Ok(Self::Unknown);
        }
        chain.read(mem, &mut bytes)?;
        Ok(match bytes {
            [CLASS_QUEUES, SET_PAIRS, low, high] => Self::UsePairs(u16::from_le_bytes([low, high])),
            _ => Self::Unknown,
        })
    }
}

/// Says whether it was done; bytes written.
pub fn answer(chain: &Chain, mem: &Mem, is_done: bool) -> io::Result<usize> {
    let answer = if is_done { OK } else { ERROR };
    chain.write(mem, 0, &[answer])?;
    Ok(1)
}
