//! `husk stats`: what machines use of this host, as this host counts it. Of a machine that is everything its
//! processes use, its guest's memory included.

use std::io::{self, IsTerminal};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Status as ExitStatus;
use super::completion;
use super::machines::refused;
use super::output::{Failure, say};
use super::template::Template;
use crate::machines::{Listed, Machine, Machines, Record};
use crate::run;
use crate::spec::units::show_size;
use crate::sys::processes::{Usage, usage};

/// Show what machines use of this host
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Once, and not again and again
    #[arg(long)]
    no_stream: bool,
    /// Cut nothing short
    #[arg(long)]
    no_trunc: bool,
    /// Print `json`, or what docker's template says, like '{{.Name}} {{.MemUsage}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names or IDs [default: all that run]
    #[arg(value_name = "MACHINE", add = completion::running())]
    machines: Vec<String>,
}

/// What `--format` may name, and how a table calls it.
const FIELDS: [(&str, &str); 8] = [
    ("ID", "MACHINE ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

const TABLE: &str =
    "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.BlockIO}}\t{{.PIDs}}";

/// What is watched before something is said.
const INTERVAL: Duration = Duration::from_secs(1);

/// Home, and nothing below (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows them once a second until somebody ends it.
pub fn stats(args: &Args) -> ExitStatus {
    let template = match args.format.as_deref() {
        None | Some("table") => TABLE,
        Some(format) => format,
    };
    let template = Template::parse(template)?;
    let machines = run::machines()?;
    let clears = args.format.is_none() && !args.no_stream && io::stdout().is_terminal();
    let mut before = look(args, &machines)?;
    loop {
        sleep(INTERVAL);
        let now = look(args, &machines)?;
        let rows: Vec<_> = now.iter().map(|seen| row(args, seen, &before)).collect();
        let text = template.render(&rows, &FIELDS)?;
        say(&match clears {
            true => format!("{CLEAR}{text}"),
            false => text,
        })?;
        if args.no_stream {
            return Ok(0);
        }
        before = now;
    }
}

/// A machine, and what it had used when somebody looked.
struct Seen {
    record: Record,
    at: Instant,
    usage: Option<Usage>,
}

fn look(args: &Args, machines: &Machines) -> Result<Vec<Seen>, Failure> {
    let named = args.machines.iter().map(|name| {
        let Machine { record, state, .. } = machines.find(name)?;
        Ok(Listed { record, state })
    });
    let found = match args.machines.is_empty() {
        true => machines.list(!args.all),
        false => named.collect(),
    };
    let found = found.map_err(refused)?.into_iter();
    let seen = found.map(|Listed { record, state }| Seen {
        record,
        at: Instant::now(),
        usage: state.status.is_up().then(|| usage(state.pid)),
    });
    Ok(seen.collect())
}

fn row(args: &Args, now: &Seen, before: &[Seen]) -> Value {
    let record = &now.record;
    let before = before.iter().find(|seen| seen.record.id == record.id);
    let used = now.usage.unwrap_or_default();
    let limit = record.resolved.memory;
    let id = match args.no_trunc {
        true => record.id.long(),
        false => record.id.short(),
    };
    json!({
        "ID": id,
        "Container": id,
        "Name": record.name,
        "CPUPerc": format!("{:.2}%", before.map_or(0.0, |before| share(before, now))),
        "MemUsage": format!("{} / {}", show_size(used.memory), show_size(limit)),
        "MemPerc": format!("{:.2}%", percent(used.memory, limit)),
        "NetIO": "--",
        "BlockIO": format!("{} / {}", show_size(used.read), show_size(used.written)),
        "PIDs": used.tasks.to_string(),
    })
}

/// Processor time of the time that passed, in percent of one CPU.
fn share(before: &Seen, now: &Seen) -> f64 {
    let (Some(first), Some(last)) = (before.usage, now.usage) else {
        return 0.0;
    };
    let passed = now.at.saturating_duration_since(before.at).as_secs_f64();
    100.0 * last.cpu.saturating_sub(first.cpu).as_secs_f64() / passed.max(f64::EPSILON)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a percentage is shown with two digits"
)]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
