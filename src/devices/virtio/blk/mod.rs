//! The block devices (virtio 1.2, 5.2): a read-only disk, stitched from files, that has the image; and a
//! writable one, a file, for what a workload writes.
//!
//! A request is parsed by a pure function ([`request`]); the disks ([`stitched`], [`sparse`]) never see a
//! descriptor.

mod device;
mod request;
mod sparse;
mod stitched;
mod writable;

pub use device::Block;
pub use sparse::Sparse;
pub use stitched::{OutOfRange, Stitched};
pub use writable::WritableBlock;
