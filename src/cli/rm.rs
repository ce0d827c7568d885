//! `husk rm`.

use super::Status as ExitStatus;
use super::completion;
use super::machines::{each, refused};
use super::stop::end;
use crate::machines::Error;

/// Remove machines
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End those that run
    #[arg(short, long)]
    force: bool,
    /// Names or IDs
    #[arg(required = true, value_name = "MACHINE", add = completion::machines())]
    machines: Vec<String>,
}

/// Removes each of them.
pub fn rm(args: &Args) -> ExitStatus {
    each(&args.machines, |machines, machine| {
        let name = machine.record.name.clone();
        let held = match args.force && machine.kept {
            true => end(machines, machine)?,
            false => {
                let held = machines.hold(machine).map_err(refused)?;
                Some(held.ok_or_else(|| refused(Error::Running(name)))?)
            }
        };
        match held {
            Some(held) => machines.remove(&held).map_err(refused),
            None => Ok(()),
        }
    })
}
