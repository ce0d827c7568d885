//! What all balloons have: requests of their drivers, which are lists of pages by their numbers (virtio 1.2, 5.5.6), and their
//! configuration.

use std::io;

use vm_memory::GuestAddress;

use crate::devices::virtio::chain::{Chain, broken, total};
use crate::devices::virtio::device::Active;
use crate::kvm::memory::give_back;

/// Bytes of a page of the balloon's, whatever the guest's pages are (5.5.6).
pub const PAGE: u64 = 4096;

/// Bytes of a page's number, and most of them in a request: Linux sends 256.
const NUMBER: usize = 4;
const MOST_NUMBERS: usize = 4096;

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
