//! The switch of a network: a process to which each machine on it has a connection, and which passes packets from one to
//! another.
//!
//! ```text
//!  who starts a machine                    the switch                       the engines of the others
//!    ├── Join{names} ─────────────────────────▶ │
//!    │ ◀────────── Seated{addresses}, or Refused ┤
//!    hands the socket to the machine's engine   ├── Came{member} ──────────────────▶ │   to all, and who
//!  its engine                                   │                                    │   comes hears of all
//!    ├── a packet ──────────────────────────────▶ ├── the same ──────────────────────▶ │   to the one it is for
//!    │   … the connection ends ─────────────────▶ ├── Left{address} ─────────────────▶ │
//!  anybody with the rights of this user         │
//!    ├── List ────────────────────────────────▶ │
//!    │ ◀──────────────────────────── Came…, All ┤
//!    ├── Rename{ID, name} ────────────────────▶ ├── Came{member}, with its new name ─▶ │   to all
//!    │ ◀──────────────────────── All, or Refused ┤
//! ```
//!
//! It believes no member: a packet whose source is not what its sender was given goes nowhere, and neither does one for
//! somebody who is not there. So a machine whose process was taken over speaks for itself alone, and by the names that it was
//! given: only who is no member changes those. Packets are not looked
//! into beyond their addresses: all protocols of IP pass, broadcast and multicast do not. A member that does not listen
//! loses packets, as on a cable, and one that does not listen to words for long loses its place.

pub mod message;
mod server;
mod table;

pub use message::{Join, Member, Word};
pub use server::Switch;

#[cfg(test)]
pub(super) mod tests;
