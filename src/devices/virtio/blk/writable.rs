//! The block device that is written, served by a thread of its own: a guest that waits for the host's
//! disk does not stop the others' devices.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::device::{BLOCK_SIZE, F_BLK_SIZE, F_SEG_MAX, QUEUES, S_IOERR, S_OK, S_UNSUPP, SEG_MAX};
use super::request::{self, ID_LEN, MAX_RANGES, Request};
use super::sparse::Sparse;
use crate::devices::virtio::chain::{Chain, total};
use crate::devices::virtio::device::{Active, Device, Kind};
use crate::devices::virtio::pace::{Demand, Pace};
use crate::devices::virtio::worker::{Serve, Worker};

/// Feature bits (virtio 1.2, 5.2.3): flush, discard and write zeroes are understood.
const F_FLUSH: u64 = 1 << 9;
const F_DISCARD: u64 = 1 << 13;
const F_WRITE_ZEROES: u64 = 1 << 14;

/// Most sectors of a range: 1 GiB, which the host gives back at once.
const MAX_SECTORS: u32 = 1 << 21;

/// Sectors of what the host gives back in one piece.
const ALIGNMENT: u32 = 8;

/// The disk's name, for `/dev/disk/by-id`.
const ID: [u8; ID_LEN] = *b"husk-written\0\0\0\0\0\0\0\0";

/// A writable block device.
#[derive(Debug)]
pub struct WritableBlock {
    sectors: u64,
    worker: Worker<Sparse>,
}

impl WritableBlock {
    /// Offers `disk` to the guest, at this pace.
    pub fn new(disk: Sparse, pace: Arc<Pace>) -> io::Result<Self> {
        Ok(Self {
            sectors: disk.sectors(),
            worker: Worker::new("disk", disk)?.at(pace),
        })
    }
}

impl Device for WritableBlock {
    fn kind(&self) -> Kind {
        Kind::Block
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES
    }

    fn features(&self) -> u64 {
        F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_DISCARD | F_WRITE_ZEROES
    }

    /// `struct virtio_blk_config` (5.2.4): capacity u64 at 0, seg_max u32 at 12, blk_size u32 at 20;
    /// from 36 on, u32 each: the most sectors to discard, the most ranges, their alignment; the most
    /// sectors to zero, the most ranges; and whether zeros may be holes, u8.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; 57];
        config[..8].copy_from_slice(&self.sectors.to_le_bytes());
        let words = [
            (12, SEG_MAX),
            (20, BLOCK_SIZE),
            (36, MAX_SECTORS),
            (40, MAX_RANGES),
            (44, ALIGNMENT),
            (48, MAX_SECTORS),
            (52, MAX_RANGES),
        ];
        for (at, word) in words {
            config[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        config[56] = 1;
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(config.len());
        for (byte, value) in data.iter_mut().zip(&config[from..]) {
            *byte = *value;
        }
    }

    fn activate(&mut self, active: Active, _features: u64) -> io::Result<()> {
        self.worker.activate(active)
    }

    fn stop(&mut self) -> Option<Active> {
        self.worker.stop()
    }

    fn notify(&mut self, queue: u16) -> io::Result<()> {
        self.worker.notify(queue);
        Ok(())
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.worker.source())
    }

    fn poll(&mut self) -> io::Result<()> {
        self.worker.poll()
    }
}

impl Serve for Sparse {
    fn demand(&self, chain: &Chain, active: &Active) -> io::Result<Option<Demand>> {
        Ok(request::parse(chain, &active.mem)?.request.demand())
    }

    fn serve(&mut self, chain: &Chain, active: &Active) -> io::Result<usize> {
        let mem = &*active.mem;
        let parsed = request::parse(chain, mem)?;
        let done = match parsed.request {
            Request::Read { offset, into } => self.read(mem, offset, &into),
            Request::Write { offset, from } => self.write(mem, offset, &from),
            Request::Flush => self.flush(),
            Request::Discard(ranges) => ranges.iter().try_for_each(|range| self.discard(*range)),
            Request::Zero(ranges) => ranges.iter().try_for_each(|range| self.zero(*range)),
            Request::Identify => {
                chain.write(mem, 0, &ID)?;
                Ok(())
            }
            Request::Unsupported => Err(io::ErrorKind::Unsupported.into()),
        };
        let status = match done {
            Ok(()) => S_OK,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => S_UNSUPP,
            // Out of range, out of memory, or the host's disk full or failing: an I/O error to the guest.
            Err(_) => S_IOERR,
        };
        chain.write(mem, parsed.data_len, &[status])?;
        Ok(total(&chain.writable))
    }
}
