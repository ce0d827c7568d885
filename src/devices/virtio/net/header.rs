//! `struct virtio_net_hdr` (virtio 1.2, 5.1.6): before each frame, in both directions; a TAP interface of the host's has the
//! same.

use crate::net::Unsummed;

/// Bytes of it, `num_buffers` included: it is always there since virtio 1.
pub const HEADER_LEN: usize = 12;

/// VIRTIO_NET_HDR_F_NEEDS_CSUM.
const NEEDS_CSUM: u8 = 1;

/// The header of a frame that takes so many buffers.
pub fn encode(unsummed: Option<Unsummed>, buffers: u16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    if let Some(Unsummed { start, offset }) = unsummed {
        header[0] = NEEDS_CSUM;
        header[6..8].copy_from_slice(&start.to_le_bytes());
        header[8..10].copy_from_slice(&offset.to_le_bytes());
    }
    header[10..].copy_from_slice(&buffers.to_le_bytes());
    header
}

/// Which checksum of the frame behind it is not finished.
pub fn unsummed(header: &[u8; HEADER_LEN]) -> Option<Unsummed> {
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    (header[0] & NEEDS_CSUM != 0).then(|| Unsummed {
        start: word(6),
        offset: word(8),
    })
}

/// Whether the frame behind it is one packet as it is: nothing was offered that would make it more.
pub fn is_plain(header: &[u8; HEADER_LEN]) -> bool {
    /// VIRTIO_NET_HDR_GSO_NONE.
    const GSO_NONE: u8 = 0;
    header[1] == GSO_NONE
}
