//! `husk update`.

use super::Status as ExitStatus;
use super::machines::{REFUSED, each, refused};
use super::output::Failure;
use super::rates::Rates;
use crate::run;
use crate::spec::{Restart, Update};

/// Change what machines may use, and when they are started again: at once where they run, and from then on
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Memory, like 256m or 2g; while a virtual machine runs, no more than it booted with
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// What the host should have to give of that at most
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// CPUs, and parts of one, like 2 or 0.5
    #[arg(long, value_name = "N")]
    cpus: Option<String>,
    /// The host's CPUs that they may use, like 0-3,5
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Most processes and threads of the workload at once, like 100; -1 is no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<String>,
    #[command(flatten)]
    rates: Rates,
    /// When to start them again: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = Restart::parse)]
    restart: Option<Restart>,
    /// Names or IDs
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
}

/// Changes each of them.
pub fn update(args: &Args) -> ExitStatus {
    let update = Update {
        memory: args.memory.clone(),
        memory_reservation: args.memory_reservation.clone(),
        cpus: args.cpus.clone(),
        cpuset_cpus: args.cpuset_cpus.clone(),
        pids_limit: args.pids_limit.clone(),
        device_rates: args.rates.words(),
        restart: args.restart,
    };
    if update.is_empty() {
        let text = "nothing to change: give a flag; husk update --help lists them";
        return Err(Failure::new(text).with_status(REFUSED));
    }
    each(&args.machines, |_, machine| {
        match run::update(machine, &update) {
            Err(run::Error::Registry(error)) => Err(refused(error)),
            changed => Ok(changed?),
        }
    })
}
