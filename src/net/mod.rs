//! The user-mode network: a guest's frames on one side, ordinary sockets of the host's on the other.
//!
//! ```text
//!  guest ── frames ──▶ wire (parse) ──▶ engine ──▶ policy? ──▶ a flow: TCP, UDP or echo ──▶ a socket of the host's
//!        ◀── frames ── wire (build) ◀── what is ready, one frame at a time ◀── epoll ◀────────┘
//! ```
//!
//! Nothing here needs privileges, and nothing knows of virtio: a [`Peer`] takes frames and gives frames, so the same
//! network serves any cable. It is the far end of everything: the guest's TCP ends here, and a socket
//! speaks to the world in its place, so no packet of the guest's ever reaches the host's network.
//!
//! Packets for other machines on the guest's networks end nowhere here: they go by a trunk to the network's [`switch`], and come
//! from there, as they are.
//!
//! Why not smoltcp, which has all these protocols: it looks at every socket for each packet, wants buffers
//! of full size before a byte flows, and answers a SYN before anybody can know whether the far end will. A
//! terminator wants ten thousand connections, memory for what waits, and the far end's own answer. What it
//! need not have, because its cable is memory, is congestion control and reordering.
//!
//! Bounds: flows ([`room()`]), bytes that wait in each and in all, replies that wait, and time. A frame that makes
//! no sense is dropped.

mod attempts;
mod changes;
mod dns;
mod echo;
mod engine;
mod flows;
mod host;
mod link;
mod meter;
mod outbox;
mod plan;
mod policy;
mod poller;
mod room;
mod setup;
pub mod switch;
mod tcp;
mod trunk;
mod udp;
mod wire;

pub use changes::{Change, Changes, Plugs, Rewiring};
pub use engine::{Door, Network, Setup};
pub use link::{ETHERNET_LEN, FRAME_LEN, Frame, MTU, Peer, Unsummed};
pub use plan::{GUEST_MAC, Plan};
pub use room::room;

#[cfg(test)]
mod tests;
