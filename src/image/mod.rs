//! From an image reference to a root file system that a machine can boot.
//!
//! ```text
//! archive ──▶ layer (tar) ──▶ blob + LayerTree ──┐
//!                                                ├─ merge ──▶ Tree ──▶ EROFS metadata
//! archive ──▶ layer (tar) ──▶ blob + LayerTree ──┘
//! ```

pub mod tree;
