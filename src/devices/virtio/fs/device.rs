//! The device: requests out of two queues, served by a thread of its own, so that a host's slow disk
//! stops no other device.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::content::Data;
use super::request::{self, Header};
use super::server::{Reply, Server};
use super::share::Share;
use super::wire::{Answer, IN_HEADER, OUT_HEADER, WRITE_IN, op};
use crate::devices::virtio::chain::{Chain, broken, total};
use crate::devices::virtio::device::{Active, Device, Kind};
use crate::devices::virtio::worker::{Serve, Worker};

/// The name by which the guest mounts it.
pub const TAG: &str = "husk";

/// Bytes of the tag in the configuration (5.11.4).
const TAG_LEN: usize = 36;

/// The high-priority queue, which has what is to be forgotten; and one for requests, with room for 1 MiB
/// in pages that lie apart.
const QUEUES: [u16; 2] = [64, 512];

/// Most bytes of a request but for the data of a WRITE: the value of an attribute, and room.
const MAX_REQUEST: usize = 80 << 10;

/// The file system device.
#[derive(Debug)]
pub struct Fs {
    worker: Worker<Server>,
}

impl Fs {
    /// A device that shows `shares`, and uses `descriptors` at most.
    pub fn new(shares: Vec<Share>, descriptors: usize) -> io::Result<Self> {
        let server = Server::new(shares, descriptors)?;
        Ok(Self {
            worker: Worker::new("fs", server)?,
        })
    }
}

impl Device for Fs {
    fn kind(&self) -> Kind {
        Kind::FileSystem
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES
    }

    /// `struct virtio_fs_config` (5.11.4): tag, num_request_queues u32.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; TAG_LEN + 4];
        config[..TAG.len()].copy_from_slice(TAG.as_bytes());
        config[TAG_LEN] = 1;
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

impl Serve for Server {
    fn serve(&mut self, chain: &Chain, active: &Active) -> io::Result<usize> {
        serve(self, chain, active)
    }
}

/// Serves one request; the bytes written into the chain. What is no request at all is an error.
fn serve(server: &mut Server, chain: &Chain, active: &Active) -> io::Result<usize> {
    let mem = &*active.mem;
    let mut bytes = [0; IN_HEADER];
    chain.read(mem, &mut bytes)?;
    let header = request::parse_header(&bytes).map_err(|_| broken("a request without a header"))?;
    let claimed = usize::try_from(header.len).unwrap_or(usize::MAX);
    if claimed < IN_HEADER || claimed > total(&chain.readable) {
        return Err(broken("a request of another length than it says"));
    }
    let wanted = match header.opcode {
        op::WRITE => claimed.min(IN_HEADER + WRITE_IN),
        _ => claimed,
    };
    if wanted > MAX_REQUEST {
        return Err(broken("a request of more than 80 KiB"));
    }
    let mut whole = vec![0; wanted];
    chain.read(mem, &mut whole)?;
    let data = Data { chain, mem };
    let reply = request::parse(&header, &whole[IN_HEADER..])
        .and_then(|operation| server.serve(&header, operation, &data));
    answer(&header, reply, chain, active)
}

/// Writes the answer: `fuse_out_header`, and what follows it.
fn answer(
    header: &Header,
    reply: Result<Reply, Errno>,
    chain: &Chain,
    active: &Active,
) -> io::Result<usize> {
    let forgets = matches!(header.opcode, op::FORGET | op::BATCH_FORGET | op::INTERRUPT);
    if reply == Ok(Reply::Nothing) || forgets {
        return Ok(0);
    }
    let room = total(&chain.writable).checked_sub(OUT_HEADER);
    let room = room.ok_or_else(|| broken("no room for an answer"))?;
    let (errno, body, len) = match reply {
        Ok(Reply::Bytes(body)) if body.len() > room => (Some(Errno::IO), Vec::new(), 0),
        Ok(Reply::Bytes(body)) => (None, body, 0),
        Ok(Reply::Filled(len)) => (None, Vec::new(), len),
        Ok(Reply::Nothing) => (None, Vec::new(), 0),
        // Too many open files of this process are the guest's, and look like its system's.
        Err(Errno::MFILE) => (Some(Errno::NFILE), Vec::new(), 0),
        Err(errno) => (Some(errno), Vec::new(), 0),
    };
    let len = OUT_HEADER + len.max(body.len());
    let size = u32::try_from(len).map_err(|_| broken("an answer beyond 4 GiB"))?;
    let error = errno.map_or(0, |errno| errno.raw_os_error().wrapping_neg());
    let head = Answer::default()
        .u32(size)
        .u32(error.cast_unsigned())
        .u64(header.unique)
        .bytes(&body);
    chain.write(&active.mem, 0, &head.0)?;
    Ok(len)
}
