//! The words that host and guest share: frames on the control channel, the job they carry, and how
//! a workload ends. The guest's own half, PID 1, is the binary of this package.
//!
//! And what both walls do with an image's root before its own code runs: files, places, the network, the user and
//! the command. Init does it in the guest; the namespace wall with the same code, in the same order.
//!
//! One virtio-vsock device carries everything. The guest connects to the host, never the other way
//! round; the first frame of each connection says what the connection is for:
//!
//! ```text
//!  guest                                   host
//!    ├── connect ── Hello{version} ─────────▶ │   the control channel: frames both ways
//!    │ ◀───────────────────────── Job ────────┤
//!    ├── connect ── Attach{0, Stdin} ───────▶ │   then raw bytes, host to guest
//!    ├── connect ── Attach{0, Stdout} ──────▶ │   then raw bytes, guest to host
//!    ├── connect ── Attach{0, Stderr} ──────▶ │   then raw bytes, guest to host
//!    ├── Started{0} | Failed{0, …} ─────────▶ │
//!    │ ◀──────────────────── Signal{0, n} ────┤
//!    │ ◀────────────── Exec{n, process} ──────┤   more sessions, each with its Attach, Started, Exited
//!    ├── Exited{0, exit} ───────────────────▶ │   the workload has ended, and soon every other session
//!    ├── Finished ──────────────────────────▶ │   leftovers killed, streams drained, disk synced
//! ```
//!
//! Streams are separate connections, so the flow control of vsock is the back-pressure of each
//! stream, and closing one direction of one stream says nothing about the others.

pub mod archive;
pub mod command;
pub mod exit;
pub mod failure;
pub mod files;
pub mod frame;
pub mod job;
pub mod network;
pub mod places;
pub mod processes;
pub mod sys;
#[cfg(test)]
mod testing;
pub mod user;
pub mod wire;
pub mod workload;
