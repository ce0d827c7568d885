//! The block device that is read: queue in, disk out.
//!
//! Where nobody bounds how fast, requests are served where they arrive: the host has most of a disk in memory. With the
//! first bound they go to a thread of the device's own, where they may wait.

use std::io;
use std::sync::Arc;

use super::request::{self, ID_LEN, Request};
use super::stitched::Stitched;
use crate::devices::virtio::chain::{Chain, total};
use crate::devices::virtio::device::{Active, Device, Kind};
use crate::devices::virtio::pace::{Demand, Pace, Way};
use crate::devices::virtio::worker::{Serve, Worker};

/// One request queue.
pub(super) const QUEUES: [u16; 1] = [128];

/// Feature bits (virtio 1.2, 5.2.3): most segments are given; read-only; block size is given.
pub(super) const F_SEG_MAX: u64 = 1 << 2;
const F_RO: u64 = 1 << 5;
pub(super) const F_BLK_SIZE: u64 = 1 << 6;

/// Data segments of one request: the queue, less header and status.
pub(super) const SEG_MAX: u32 = 126;

/// The block size of the EROFS on the disk, so that the guest reads whole blocks.
pub(super) const BLOCK_SIZE: u32 = 4096;

/// VIRTIO_BLK_S_*: status of a request.
pub(super) const S_OK: u8 = 0;
pub(super) const S_IOERR: u8 = 1;
pub(super) const S_UNSUPP: u8 = 2;

/// The disk's name, for `/dev/disk/by-id`.
const ID: [u8; ID_LEN] = *b"husk-disk\0\0\0\0\0\0\0\0\0\0\0";

/// A read-only block device.
#[derive(Debug)]
pub struct Block {
    sectors: u64,
    pace: Arc<Pace>,
    /// The disk, until the worker has it.
    disk: Option<Stitched>,
    active: Option<Active>,
    worker: Option<Worker<Stitched>>,
}

impl Block {
    /// Offers `disk` to the guest, at this pace.
    pub fn new(disk: Stitched, pace: Arc<Pace>) -> Self {
        Self {
            sectors: disk.sectors(),
            pace,
            disk: Some(disk),
            active: None,
            worker: None,
        }
    }

    /// Has a thread of its own serve the disk from now on.
    fn hand_over(&mut self) -> io::Result<()> {
        let (Some(disk), Some(active)) = (self.disk.take(), self.active.take()) else {
            return Ok(());
        };
        let worker = Worker::new("root", disk)?.at(Arc::clone(&self.pace));
        self.worker.insert(worker).activate(active)
    }
}

impl Device for Block {
    fn kind(&self) -> Kind {
        Kind::Block
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES
    }

    fn features(&self) -> u64 {
        F_SEG_MAX | F_RO | F_BLK_SIZE
    }

    /// `struct virtio_blk_config` (5.2.4): capacity u64, size_max u32, seg_max u32, geometry u32,
    /// blk_size u32.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; 24];
        config[..8].copy_from_slice(&self.sectors.to_le_bytes());
        config[12..16].copy_from_slice(&SEG_MAX.to_le_bytes());
        config[20..].copy_from_slice(&BLOCK_SIZE.to_le_bytes());
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(config.len());
        for (byte, value) in data.iter_mut().zip(&config[from..]) {
            *byte = *value;
        }
    }

    fn activate(&mut self, active: Active, _features: u64) -> io::Result<()> {
        if let Some(worker) = &mut self.worker {
            return worker.activate(active);
        }
        self.active = Some(active);
        Ok(())
    }

    fn stop(&mut self) -> Option<Active> {
        match &mut self.worker {
            Some(worker) => worker.stop(),
            None => self.active.take(),
        }
    }

    /// A driver that broke the protocol while the worker served it is told so when it calls again: the event loop
    /// asked for the device's source before there was one.
    fn notify(&mut self, queue: u16) -> io::Result<()> {
        if self.pace.is_bounded() {
            self.hand_over()?;
        }
        if let Some(worker) = &self.worker {
            worker.notify(queue);
            return worker.poll();
        }
        let (Some(disk), Some(active)) = (&mut self.disk, &mut self.active) else {
            return Ok(());
        };
        loop {
            while let Some(chain) = active.pop(0)? {
                let written = disk.serve(&chain, active)?;
                active.give_back(0, chain.head, written)?;
            }
            if !active.rearm(0)? {
                return active.interrupt(0);
            }
        }
    }
}

impl Serve for Stitched {
    fn demand(&self, chain: &Chain, active: &Active) -> io::Result<Option<Demand>> {
        let demand = request::parse(chain, &active.mem)?.request.demand();
        // What is written is refused, and takes nothing.
        Ok(demand.filter(|demand| demand.way == Way::Read))
    }

    fn serve(&mut self, chain: &Chain, active: &Active) -> io::Result<usize> {
        let mem = &*active.mem;
        let parsed = request::parse(chain, mem)?;
        let status = match parsed.request {
            Request::Read { offset, into } => match self.read(mem, offset, &into) {
                Ok(()) => S_OK,
                // Out of range, out of memory, or the host's disk failing: the guest sees an I/O error.
                Err(_) => S_IOERR,
            },
            Request::Identify => {
                chain.write(mem, 0, &ID)?;
                S_OK
            }
            _ => S_UNSUPP,
        };
        chain.write(mem, parsed.data_len, &[status])?;
        Ok(total(&chain.writable))
    }
}
