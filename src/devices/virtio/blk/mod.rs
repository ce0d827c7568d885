//! The block device (virtio 1.2, 5.2): a read-only disk, stitched from files.
//!
//! A request is parsed by a pure function ([`request`]); the disk ([`stitched`]) never sees a
//! descriptor.

mod device;
mod request;
mod stitched;

pub use device::Block;
pub use stitched::{OutOfRange, Stitched};
