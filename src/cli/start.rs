//! `husk start`.

use std::io::{self, Write};

use super::Status as ExitStatus;
use super::attach::{Habits, Shown, connect};
use super::completion;
use super::machines::{REFUSED, each, refused};
use super::output::Failure;
use crate::machines::Held;
use crate::run;
use crate::spec::{DETACH_KEYS, DetachKeys};

/// Start machines again, in the background: what was asked of them runs anew, in a fresh root or on their --disk
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Connect to its output, and take over its exit status; one machine only
    #[arg(short, long)]
    attach: bool,
    /// The same, and type to it
    #[arg(short, long)]
    interactive: bool,
    /// Keys that leave the workload alone
    #[arg(long, value_name = "KEYS", default_value = DETACH_KEYS, value_parser = DetachKeys::parse)]
    detach_keys: DetachKeys,
    /// Names or IDs
    #[arg(required = true, value_name = "MACHINE", add = completion::machines())]
    machines: Vec<String>,
}

/// Starts each of them; one that runs is started already.
pub fn start(args: &Args) -> ExitStatus {
    if args.attach || args.interactive {
        return match &args.machines[..] {
            [machine] => start_attached(args, machine),
            _ => Err(Failure::new("start -a and -i take one machine").with_status(REFUSED)),
        };
    }
    each(&args.machines, |machines, machine| {
        match machines.hold(machine).map_err(refused)? {
            Some(held) => start_held(&held),
            None => Ok(()),
        }
    })
}

/// Starts a machine, or finds it running, and connects to it.
fn start_attached(args: &Args, name: &str) -> ExitStatus {
    let machines = run::machines()?;
    let machine = machines.find(name).map_err(refused)?;
    let id = machine.record.id.clone();
    // What it said in its runs before, or so far, is not shown again.
    let before = Shown::open(&machine).and_then(Shown::skip).ok();
    if let Some(held) = machines.hold(machine).map_err(refused)? {
        start_held(&held)?;
    }
    let machine = machines.find(id.long()).map_err(refused)?;
    let shown = before.map_or_else(|| Shown::open(&machine), Ok)?;
    let habits = Habits {
        keys: args.detach_keys.clone(),
        types: args.interactive && machine.record.request.stdin,
        passes_signals: true,
    };
    connect(machine, shown, habits)
}

/// Starts a machine that is ours.
pub fn start_held(held: &Held) -> Result<(), Failure> {
    run::start(held, |missing| {
        // A closed stderr is no reason to fail.
        let _closed = writeln!(io::stderr(), "husk: {}", missing.text);
    })?;
    Ok(())
}
