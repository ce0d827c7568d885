//! `husk pause` and `husk unpause`.

use super::Status as ExitStatus;
use super::completion;
use super::machines::{each, refused};

/// Halt everything in machines, until they are unpaused
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or IDs
    #[arg(required = true, value_name = "MACHINE", add = completion::running())]
    machines: Vec<String>,
}

/// Halts each of them.
pub fn pause(args: &Args) -> ExitStatus {
    set(args, true)
}

/// Lets each of them go on.
pub fn unpause(args: &Args) -> ExitStatus {
    set(args, false)
}

fn set(args: &Args, paused: bool) -> ExitStatus {
    each(&args.machines, |_, mut machine| {
        if !machine.kept {
            return Err(refused(machine.not_running()));
        }
        machine.pause(paused).map_err(refused)
    })
}
