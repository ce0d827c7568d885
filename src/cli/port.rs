//! `husk port`.

use super::Status as ExitStatus;
use super::completion;
use super::machines::{REFUSED, refused};
use super::output::{Failure, say};
use crate::run;
use crate::spec::{Published, Transport};

/// Print which ports of this host lead to a machine
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or ID
    #[arg(add = completion::running())]
    machine: String,
    /// Only those that lead to this port of the machine's, like 80 or 53/udp
    #[arg(value_name = "PORT[/udp]")]
    port: Option<String>,
}

/// Prints docker's lines: `80/tcp -> 127.0.0.1:8080`, or of one port what is behind the arrow.
pub fn port(args: &Args) -> ExitStatus {
    let machine = run::machines()?.find(&args.machine).map_err(refused)?;
    let ports = &machine.state.ports;
    let Some(wanted) = args.port.as_deref() else {
        let lines = ports
            .iter()
            .map(|one| format!("{}/{} -> {}\n", one.guest, one.transport, one.host));
        say(&lines.collect::<String>())?;
        return Ok(0);
    };
    let (number, transport) = parse(wanted)?;
    let leads = |one: &&Published| one.guest == number && one.transport == transport;
    let lines: String = ports
        .iter()
        .filter(leads)
        .map(|one| format!("{}\n", one.host))
        .collect();
    if lines.is_empty() {
        let name = &args.machine;
        let text = format!("no port of this host leads to {number}/{transport} of `{name}`");
        return Err(Failure::new(text).with_status(REFUSED));
    }
    say(&lines)?;
    Ok(0)
}

fn parse(text: &str) -> Result<(u16, Transport), Failure> {
    let (number, transport) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Transport::Tcp),
        Some((number, "udp")) => (number, Transport::Udp),
        Some(_) => ("", Transport::Tcp),
    };
    let wrong = || {
        let text = format!("`{text}` is no port: write a number, maybe with /tcp or /udp");
        Failure::new(text).with_status(REFUSED)
    };
    Ok((number.parse().map_err(|_| wrong())?, transport))
}
