//! `husk rename`.

use super::Status as ExitStatus;
use super::completion;
use super::machines::refused;
use crate::run;

/// Give a machine another name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or ID
    #[arg(add = completion::machines())]
    machine: String,
    /// What it is called from now on
    name: String,
}

/// Renames it, running or not.
pub fn rename(args: &Args) -> ExitStatus {
    let machines = run::machines()?;
    let renamed = machines
        .find(&args.machine)
        .and_then(|machine| machines.rename(&machine, &args.name));
    renamed.map_err(refused)?;
    Ok(0)
}
