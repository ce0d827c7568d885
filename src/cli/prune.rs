//! `husk prune`.

use std::collections::BTreeSet;

use super::Status;
use super::output::{Failure, say};
use crate::image::Store;
use crate::machines::{Listed, Machines};
use crate::run;
use crate::spec::units;

/// Give back the space that no image in the store uses
#[derive(Debug, clap::Args)]
pub struct Args {
    /// First remove the machines that do not run
    #[arg(short, long)]
    machines: bool,
}

/// Removes layers, disks, trees and leftovers that no image uses, and no machine's image.
pub fn prune(args: &Args) -> Status {
    let machines = run::machines()?;
    if args.machines {
        remove_resting(&machines)?;
    }
    let all = machines.list(false)?;
    let used: BTreeSet<_> = all
        .into_iter()
        .map(|machine| machine.record.image_id)
        .collect();
    let store = Store::open(&Store::default_path()?)?;
    let reclaimed = store.prune_unless(|image| used.contains(&image.id.to_string()))?;
    for left in &reclaimed.left {
        Failure::new(left.to_string()).print();
    }
    say(&format!(
        "Total reclaimed space: {}\n",
        units::show_size(reclaimed.bytes)
    ))?;
    Ok(0)
}

fn remove_resting(machines: &Machines) -> Result<(), Failure> {
    for Listed { record, .. } in machines.list(false)? {
        let id = record.id;
        // What somebody starts or removes at this moment is not resting.
        let Some(machine) = machines.machine(&id)?.filter(|machine| !machine.kept) else {
            continue;
        };
        if let Ok(Some(held)) = machines.hold(machine) {
            machines.remove(&held)?;
            say(&format!("Deleted machine: {id}\n"))?;
        }
    }
    Ok(())
}
