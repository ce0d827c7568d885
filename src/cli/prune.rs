//! `husk prune`.

use super::Status;
use super::output::{Failure, say};
use crate::image::Store;
use crate::spec::units;

/// Give back the space that no image in the store uses
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Removes layers, disks, trees and leftovers that no image uses.
pub fn prune(_: &Args) -> Status {
    let reclaimed = Store::open(&Store::default_path()?)?.prune()?;
    for left in &reclaimed.left {
        Failure::new(left.to_string()).print();
    }
    say(&format!(
        "Total reclaimed space: {}\n",
        units::show_size(reclaimed.bytes)
    ))?;
    Ok(0)
}
