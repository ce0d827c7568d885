//! `husk prune`.

use super::Status;
use super::output::say;
use crate::image::Store;
use crate::spec::units;

/// Give back the space that no image in the store uses
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Removes layers, disks and leftovers that no image uses.
pub fn prune(_: &Args) -> Status {
    let reclaimed = Store::open(&Store::default_path()?)?.prune()?;
    say(&format!(
        "Total reclaimed space: {}\n",
        units::show_size(reclaimed.bytes)
    ))?;
    Ok(0)
}
