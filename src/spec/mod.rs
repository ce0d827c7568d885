//! What to run, as plain data: built once, validated once, then never changed.

mod config;
mod machine;

pub use config::ImageConfig;
pub use machine::{Piece, VmSpec};
