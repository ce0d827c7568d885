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
    let machine = run::machines()?.find(&args.machine).map_err(refused)?;
    match run::networks::rename(&machine, &args.name) {
        Err(run::Error::Registry(error)) => Err(refused(error)),
        renamed => Ok(renamed.map(|()| 0)?),
    }
}
