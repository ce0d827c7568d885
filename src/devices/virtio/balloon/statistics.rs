//! What the guest says of its memory (virtio 1.2, 5.5.6.3): a list of tags and values, packed.
//!
//! ```text
//! │ tag u16 │ value u64 │ tag u16 │ value u64 │ …
//! ```

use std::io;

use crate::devices::virtio::chain::{Chain, total};
use crate::devices::virtio::device::Active;

/// Bytes of a tag and its value.
const ENTRY: usize = 10;

/// Most bytes that are read: more tags than there are.
const MOST: usize = 64 * ENTRY;

/// VIRTIO_BALLOON_S_AVAIL: bytes that could be used without pushing the guest to swap.
const AVAILABLE: u16 = 6;

/// Bytes that the guest could use, as a request says; `None` where it does not.
pub fn hear(chain: &Chain, active: &Active) -> io::Result<Option<u64>> {
    let mut bytes = vec![0; total(&chain.readable).min(MOST)];
    chain.read(&active.mem, &mut bytes)?;
    Ok(available(&bytes))
}

fn available(bytes: &[u8]) -> Option<u64> {
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    entries.iter().find_map(|entry| {
        let [t0, t1, value @ ..] = *entry;
        (u16::from_le_bytes([t0, t1]) == AVAILABLE).then(|| u64::from_le_bytes(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_tag() {
        let entry = |tag: u16, value: u64| [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat();
        let bytes = [entry(4, 1), entry(6, 7 << 30), entry(5, 2)].concat();
        assert_eq!(available(&bytes), Some(7 << 30));
        assert_eq!(available(&bytes[..19]), None);
        assert_eq!(available(&entry(4, 6)), None);
        assert_eq!(available(&[]), None);
    }
}
