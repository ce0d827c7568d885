//! From an image reference to a root file system that a machine can boot.
//!
//! ```text
//! Source ─▶ Parts ─▶ manifest ─▶ layer (tar) ──▶ blob + LayerTree ──┐
//!                            └─▶ layer (tar) ──▶ blob + LayerTree ──┴─ merge ──▶ Tree ──▶ EROFS metadata
//!                                                                                 └──▶ a directory of the host
//! ```
//! The disk of a machine is `[ metadata | init | blob | blob … ]`: see [`store`] for what is kept.

mod amend;
mod blank;
mod blob;
mod codec;
mod compress;
mod digest;
mod directory;
mod erofs;
mod error;
mod files;
mod intake;
mod layer;
mod limits;
mod manifest;
mod merge;
mod parts;
mod reference;
mod repack;
mod source;
mod store;
mod tar;
pub mod tree;
mod unpack;

pub use amend::{Amendment, Instruction};
pub use blank::write_blank;
pub use digest::{Digest, Hasher};
pub use error::{Error, Fault, Refusal};
pub use files::{Files, Known};
pub use limits::Limits;
pub use reference::Reference;
pub use repack::repack;
pub use source::Source;
pub use store::{
    Beside, Carried, Image, Left, NewLayer, Reclaimed, Rootfs, Scratch, Store, Unpacked, Why,
};
pub use unpack::{Lack, Lacking, Shortfall};
