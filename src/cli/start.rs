//! `husk start`.

use std::io::{self, Write};

use super::Status as ExitStatus;
use super::machines::{each, refused};
use super::output::Failure;
use crate::machines::Held;
use crate::run;

/// Start machines again, in the background: what was asked of them runs anew, in a fresh root
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or IDs
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
}

/// Starts each of them; one that runs is started already.
pub fn start(args: &Args) -> ExitStatus {
    each(&args.machines, |machines, machine| {
        match machines.hold(machine).map_err(refused)? {
            Some(held) => start_held(&held),
            None => Ok(()),
        }
    })
}

/// Starts a machine that is ours.
pub fn start_held(held: &Held) -> Result<(), Failure> {
    run::start(held, |missing| {
        // A closed stderr is no reason to fail.
        let _closed = writeln!(io::stderr(), "husk: {}", missing.text);
    })?;
    Ok(())
}
