//! The file system device (virtio 1.2, 5.11): folders of the host that the guest sees, by the FUSE
//! protocol (`include/uapi/linux/fuse.h`).
//!
//! ```text
//!  queue ─▶ [`request`]: bytes to an [`Operation`] ─▶ [`server`]: does it ─▶ answer ─▶ queue
//!                                                       ├ inodes: what the guest knows, as descriptors
//!                                                       ├ handles: what it has open
//!                                                       └ shares: the folders, and whose they are
//! ```
//!
//! One device has every share of a machine: its root is a directory of this device's own making, with
//! the shares in it by their numbers.
//!
//! What keeps the guest in: everything is reached from a descriptor of the share by one name at a time,
//! which has no `/` and is neither `.` nor `..`, and is never followed if it is a link; only regular files
//! and directories are ever opened; nothing is linked or renamed from one share to another.

mod attributes;
mod content;
mod device;
mod directory;
mod handles;
mod inodes;
mod names;
mod ownership;
mod request;
mod server;
mod share;
mod wire;

pub use device::{Fs, TAG};
pub use share::{Owners, Share};
#[cfg(test)]
pub use wire::op;
