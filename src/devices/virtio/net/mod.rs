//! The network device (virtio 1.2, 5.1): frames out of one queue, frames into another, and a [`Wire`] between them and
//! whatever is at the other end: a [`Peer`](crate::net::Peer), to which a [`Cable`] leads, or a network of the
//! host's, behind a [`Tap`].
//!
//! It has a thread of its own, made when the driver is ready: what the host's sockets do stops no other device. A
//! frame to a peer carries up to 64 KiB ([`MTU`](crate::net::MTU)), so nothing is cut into segments (no TSO) and checksums are
//! nobody's work: the driver may leave them to us, who need none, and takes ours unfinished. On a network of the host's
//! packets are as short as its own, so there both sides leave it to the other to cut them, and as late as possible.
//! Where that network's kernel serves queues itself, the device is another one ([`Vhost`]), and no thread of ours has work.
//! A guest with several CPUs may have a pair of queues for each of them: then there is a device for each pair, and one around
//! them ([`Pairs`]).

mod cable;
mod control;
mod device;
mod expected;
pub mod header;
mod offload;
mod pairs;
mod tap;
mod vhost;
mod wire;

pub use cable::Cable;
pub use device::{Net, Waker};
pub use pairs::{MOST_PAIRS, Pairs};
pub use tap::Tap;
pub use vhost::{KERNEL_FEATURES, Vhost};
pub use wire::Wire;
