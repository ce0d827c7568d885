//! `husk rmi`.

use super::output::say;
use super::{Status, completion};
use crate::image::Store;

/// Remove images, or names of images, from the store
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or IDs
    #[arg(required = true, value_name = "IMAGE", add = completion::images())]
    images: Vec<String>,
}

/// Removes each image; `husk prune` gives its layers' space back.
pub fn rmi(args: &Args) -> Status {
    let store = Store::open(&Store::default_path()?)?;
    for reference in &args.images {
        for line in store.remove(reference)? {
            say(&format!("{line}\n"))?;
        }
    }
    Ok(0)
}
