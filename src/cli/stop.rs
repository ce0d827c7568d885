//! `husk stop` and `husk restart`.

use super::Status as ExitStatus;
use super::completion;
use super::machines::{each, refused, stop_signal, stop_timeout};
use super::output::Failure;
use super::start::start_held;
use crate::machines::{Error, Held, Machine, Machines};
use crate::spec::Signal;

/// Ask machines to stop, and kill those that do not in time
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds that each may take; -1 for ever [default: what was said when it was made, or 10]
    #[arg(
        short,
        long,
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    timeout: Option<i64>,
    /// The signal that asks [default: the machine's]
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Names or IDs
    #[arg(required = true, value_name = "MACHINE", add = completion::running())]
    machines: Vec<String>,
}

/// Stops each of them; one that does not run is stopped already.
pub fn stop(args: &Args) -> ExitStatus {
    each(&args.machines, |machines, machine| {
        let was_kept = machine.kept;
        let machine = stop_one(args, machine)?;
        if was_kept {
            machines.note(&machine.record, "stop", &[]);
        }
        Ok(())
    })
}

/// Stops and starts each of them.
pub fn restart(args: &Args) -> ExitStatus {
    each(&args.machines, |machines, machine| {
        let machine = stop_one(args, machine)?;
        let name = machine.record.name.clone();
        match machines.hold(machine).map_err(refused)? {
            Some(held) => {
                start_held(&held)?;
                machines.note(&held.machine.record, "restart", &[]);
                Ok(())
            }
            None => Err(refused(Error::Busy(name))),
        }
    })
}

fn stop_one(args: &Args, mut machine: Machine) -> Result<Machine, Failure> {
    let signal = match &args.signal {
        None => stop_signal(&machine.record),
        Some(text) => Signal::parse(text).map_err(|why| Failure::new(why).with_status(1))?,
    };
    let limit = stop_timeout(&machine.record, args.timeout);
    machine.stop(signal, limit).map_err(refused)?;
    Ok(machine)
}

/// Ends a machine whatever it does; `None` when it removed itself.
pub fn end(machines: &Machines, mut machine: Machine) -> Result<Option<Held>, Failure> {
    let name = machine.record.name.clone();
    machine.end().map_err(refused)?;
    match machines.hold(machine) {
        Ok(Some(held)) => Ok(Some(held)),
        Ok(None) => Err(refused(Error::Busy(name))),
        Err(Error::NoSuch { .. }) => Ok(None),
        Err(error) => Err(refused(error)),
    }
}
