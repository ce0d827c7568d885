//! The entropy device (virtio 1.2, 5.4): every buffer that the driver gives comes back full of the
//! host's randomness.

use std::io;

use super::chain::{Chain, broken, total};
use super::device::{Active, Device, Kind};

/// One queue for requests.
const QUEUES: [u16; 1] = [16];

/// Most bytes for one buffer: the kernel asks for 64, and nobody needs more at once.
const MOST: usize = 4096;

/// The entropy device.
#[derive(Debug, Default)]
pub struct Rng {
    active: Option<Active>,
}

impl Device for Rng {
    fn kind(&self) -> Kind {
        Kind::Rng
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES
    }

    fn activate(&mut self, active: Active, _features: u64) -> io::Result<()> {
        self.active = Some(active);
        Ok(())
    }

    fn stop(&mut self) -> Option<Active> {
        self.active.take()
    }

    fn notify(&mut self, _queue: u16) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        loop {
            while let Some(chain) = active.pop(0)? {
                let len = fill(&chain, active)?;
                active.give_back(0, chain.head, len)?;
            }
            if !active.rearm(0)? {
                return active.interrupt(0);
            }
        }
    }
}

/// Fills a chain's writable part, or its first [`MOST`] bytes.
fn fill(chain: &Chain, active: &Active) -> io::Result<usize> {
    let len = total(&chain.writable).min(MOST);
    if len == 0 {
        return Err(broken("an entropy request without a buffer"));
    }
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes)?;
    chain.write(&active.mem, 0, &bytes)?;
    Ok(len)
}
