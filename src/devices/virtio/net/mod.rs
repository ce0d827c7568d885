//! The network device (virtio 1.2, 5.1): frames out of one queue, frames into another, and a
//! [`Peer`](crate::net::Peer) at the other end of the cable.
//!
//! It has a thread of its own, made when the driver is ready: what the host's sockets do stops no other device. A
//! frame carries up to 64 KiB ([`MTU`](crate::net::MTU)), so nothing is cut into segments (no TSO) and checksums are nobody's work:
//! the driver may leave them to us, who need none, and takes ours unfinished.

mod cable;
mod device;
pub mod header;

pub use device::Net;
