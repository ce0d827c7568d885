//! `husk kill`.

use super::Status as ExitStatus;
use super::completion;
use super::machines::{REFUSED, each, refused};
use super::output::Failure;
use crate::spec::Signal;

/// Give the workloads of machines a signal: SIGKILL, when nothing is said
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Names or IDs
    #[arg(required = true, value_name = "MACHINE", add = completion::running())]
    machines: Vec<String>,
}

/// Signals each of them. After SIGKILL they are dead when this returns, whatever they do.
pub fn kill(args: &Args) -> ExitStatus {
    let signal = Signal::parse(&args.signal);
    let signal =
        signal.map_err(|why| Failure::new(format!("--signal {why}")).with_status(REFUSED))?;
    each(&args.machines, |_, mut machine| {
        if !machine.kept {
            return Err(refused(machine.not_running()));
        }
        let done = match signal {
            Signal::KILL => machine.end(),
            other => machine.signal(other),
        };
        done.map_err(refused)
    })
}
