//! `husk rmi`.

use super::machines::REFUSED;
use super::output::{Failure, say};
use super::{Status, completion};
use crate::image::{Image, Store};
use crate::machines::Listed;
use crate::run;

/// Remove images, or names of images, from the store
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove what a machine needs to be started again, too
    #[arg(short, long)]
    force: bool,
    /// Names or IDs
    #[arg(required = true, value_name = "IMAGE", add = completion::images())]
    images: Vec<String>,
}

/// Removes each image; `husk prune` gives its layers' space back.
pub fn rmi(args: &Args) -> Status {
    let store = Store::open(&Store::default_path()?)?;
    let machines = match args.force {
        true => Vec::new(),
        false => run::machines()?.list(false)?,
    };
    for reference in &args.images {
        if !machines.is_empty() {
            refuse_if_used(reference, &store.find(reference)?, &machines)?;
        }
        for line in store.remove(reference)? {
            say(&format!("{line}\n"))?;
        }
    }
    Ok(0)
}

/// An image's last name is what its machines find it by.
fn refuse_if_used(reference: &str, image: &Image, machines: &[Listed]) -> Result<(), Failure> {
    let id = image.id.to_string();
    let user = machines
        .iter()
        .find(|machine| machine.record.image_id == id);
    match user {
        Some(machine) if image.names.len() <= 1 => Err(Failure::new(format!(
            "image `{reference}` is in use by machine `{}`: remove it first, or add -f",
            machine.record.name
        ))
        .with_status(REFUSED)),
        _ => Ok(()),
    }
}
