//! What all balloons have: their queues, requests of their drivers, which are lists of pages by their numbers (virtio 1.2,
//! 5.5.6), and their configuration.

use std::io;

use vm_memory::GuestAddress;

use crate::devices::virtio::chain::{Chain, broken, total};
use crate::devices::virtio::device::Active;
use crate::kvm::memory::give_back;

/// The first queues (5.5.2), and the feature bit of the third one (5.5.3).
pub const INFLATE: usize = 0;
pub const DEFLATE: usize = 1;
pub const STATISTICS: usize = 2;
pub const F_STATS_VQ: u64 = 1 << 1;

/// Bytes of a page of the balloon's, whatever the guest's pages are (5.5.6).
pub const PAGE: u64 = 4096;

/// Bytes of a page's number, and most of them in a request: Linux sends 256.
const NUMBER: usize = 4;
const MOST_NUMBERS: usize = 4096;

/// Serves what is in a queue; `answer` says of each request whether its buffer is given back at once.
pub fn serve(
    active: &mut Active,
    queue: usize,
    mut answer: impl FnMut(&Chain, &mut Active) -> io::Result<bool>,
) -> io::Result<()> {
    loop {
        while let Some(chain) = active.pop(queue)? {
            if answer(&chain, active)? {
                active.give_back(queue, chain.head, 0)?;
            }
        }
        if !active.rearm(queue)? {
            return active.interrupt(queue);
        }
    }
}

/// Keeps the buffer of a request for statistics until the next are wanted; an earlier one is given back.
pub fn keep(asked: &mut Option<u16>, chain: &Chain, active: &mut Active) -> io::Result<bool> {
    if let Some(earlier) = asked.replace(chain.head) {
        active.give_back(STATISTICS, earlier, 0)?;
    }
    Ok(false)
}

/// Gives back the buffer that was kept, if there is one: that asks for statistics.
pub fn ask(asked: &mut Option<u16>, active: &mut Active) -> io::Result<()> {
    let Some(kept) = asked.take() else {
        return Ok(());
    };
    active.give_back(STATISTICS, kept, 0)?;
    active.interrupt(STATISTICS)
}

/// Gives the host the pages that a request names, neighbours together; how many it names.
pub fn take(chain: &Chain, active: &Active) -> io::Result<u64> {
    let mut numbers = numbers(chain, active)?;
    numbers.sort_unstable();
    let neighbours = numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    for pages in neighbours {
        let start = u64::from(pages[0]) * PAGE;
        // What lies outside of memory is nobody's.
        let _nobodys = give_back(&active.mem, GuestAddress(start), pages.len() * 4096);
    }
    Ok(numbers.len() as u64)
}

/// How many pages a request names.
pub fn count(chain: &Chain) -> io::Result<u64> {
    let len = total(&chain.readable);
    match len.is_multiple_of(NUMBER) && len / NUMBER <= MOST_NUMBERS {
        true => Ok((len / NUMBER) as u64),
        false => Err(broken("no list of pages")),
    }
}

/// Fills `data` from `struct virtio_balloon_config` (5.5.4): num_pages u32, actual u32.
pub fn read_config((target, inflated): (u64, u64), offset: u64, data: &mut [u8]) {
    let word = |pages: u64| u32::try_from(pages).unwrap_or(u32::MAX).to_le_bytes();
    let config = [word(target), word(inflated)].concat();
    let from = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(config.len());
    for (byte, value) in data.iter_mut().zip(&config[from..]) {
        *byte = *value;
    }
}

/// The pages that a request names.
fn numbers(chain: &Chain, active: &Active) -> io::Result<Vec<u32>> {
    count(chain)?;
    let mut bytes = vec![0; total(&chain.readable)];
    chain.read(&active.mem, &mut bytes)?;
    let (numbers, _) = bytes.as_chunks::<NUMBER>();
    Ok(numbers
        .iter()
        .map(|number| u32::from_le_bytes(*number))
        .collect())
}
