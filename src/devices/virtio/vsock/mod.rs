//! The socket device (virtio 1.2, 5.10): streams between the guest and Unix sockets of the host.
//!
//! The guest connects, the host answers: for each connection to a port of the host, a
//! [`Connector`] gives a Unix socket, and bytes flow both ways with the spec's credits as flow
//! control. Nothing here grows with what the guest does: connections, and bytes waiting in each,
//! have fixed limits.

mod connection;
mod connections;
mod device;
mod inbox;
pub(super) mod packet;

pub use device::{Connector, Vsock};
