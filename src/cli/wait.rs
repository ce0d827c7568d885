//! `husk wait`.

use super::Status as ExitStatus;
use super::completion;
use super::machines::{REFUSED, refused};
use super::output::say;
use crate::run;

/// Wait until machines have ended, and print their exit codes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or IDs
    #[arg(required = true, value_name = "MACHINE", add = completion::machines())]
    machines: Vec<String>,
}

/// Waits for each of them in turn.
pub fn wait(args: &Args) -> ExitStatus {
    let machines = run::machines()?;
    let mut status = 0;
    for name in &args.machines {
        let code = machines
            .find(name)
            .and_then(|mut machine| machine.wait(None));
        match code.map_err(refused) {
            Ok(code) => say(&format!("{}\n", code.unwrap_or_default()))?,
            Err(failure) => {
                failure.print();
                status = REFUSED;
            }
        }
    }
    Ok(status)
}
