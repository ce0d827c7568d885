//! The cable between a guest and its network: Ethernet frames one way and the other.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Most bytes of an IP packet on the cable, either way. One frame carries 64 KiB of a stream, so that a
/// stream costs as few frames as if the device cut them (segmentation offload).
pub const MTU: u16 = 65520;

/// Bytes of an Ethernet header (IEEE 802.3, without a tag).
pub const ETHERNET_LEN: usize = 14;

/// Most bytes of a frame.
pub const FRAME_LEN: usize = ETHERNET_LEN + MTU as usize;

/// A checksum that is left for who takes the frame: the field has the sum of the pseudo header, and what is
/// missing is the sum from `start` to the frame's end (as virtio 1.2, 5.1.6.2 has it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsummed {
    /// Where the summed bytes begin.
    pub start: u16,
    /// Where the field is, counted from `start`.
    pub offset: u16,
}

/// A frame for the guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// From the Ethernet header on; [`FRAME_LEN`] bytes at most.
    pub bytes: Vec<u8>,
    /// Which checksum of it is not finished.
    pub unsummed: Option<Unsummed>,
}

impl Frame {
    /// Finishes the checksum, for who cannot do it.
    pub fn finish(&mut self) {
        let Some(Unsummed { start, offset }) = self.unsummed.take() else {
            return;
        };
        let start = usize::from(start);
        let field = start + usize::from(offset);
        if let Some(summed) = self.bytes.get(start..) {
            // Zero would say "no checksum" in UDP; its complement is the same number.
            let sum = match super::wire::checksum(0, summed) {
                0 => 0xffff,
                sum => sum,
            };
            if let Some(field) = self.bytes.get_mut(field..field + 2) {
                field.copy_from_slice(&sum.to_be_bytes());
            }
        }
    }
}

/// What is at the other end of the guest's cable.
pub trait Peer: Send {
    /// Takes a frame of the guest: whatever it is, it changes nothing but what a frame may change. `unsummed` is the
    /// checksum that the guest left to us.
    fn take(&mut self, frame: &[u8], unsummed: Option<Unsummed>);
    /// Puts the next frame for the guest into `frame`; false when there is none now.
    fn give(&mut self, frame: &mut Frame) -> bool;
    /// Readable when the host has something for [`Peer::poll`].
    fn source(&self) -> BorrowedFd<'_>;
    /// Takes what the host has; never waits.
    fn poll(&mut self) -> io::Result<()>;
    /// How long to wait for [`Peer::source`] before [`Peer::poll`] has something to do all the same.
    fn patience(&self) -> Option<Duration>;
}
