//! `husk run`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use husk_init::job::Size;
use serde_json::json;

use super::attempts;
use super::health;
use super::lifecycle;
use super::output::{Failure, say};
use super::start::start_held;
use super::workload::Workload;
use super::{Status, completion};
use crate::run::{self, Outcome};
use crate::spec::{
    DETACH_KEYS, DetachKeys, Missing, OciRuntime, Probe, Restart, RunRequest, Wall, units,
};
use crate::sys::terminal;

/// Run an image in a machine of its own
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    lifecycle: lifecycle::Flags,
    #[command(flatten)]
    health: health::Flags,
    /// Boot this kernel (ELF or bzImage) instead of the embedded one
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Give the kernel this initial RAM disk; needs --kernel
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// Add a word to the kernel's command line
    #[arg(long, value_name = "WORD")]
    kernel_arg: Vec<String>,
    /// Kill the workload after this long, like 30s or 5m
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    timeout: Option<Duration>,
    /// Give the guest this long to start the workload [default: 1m; 5m on a software KVM]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    boot_timeout: Option<Duration>,
    /// What stands between the image and this host: a machine, or namespaces as docker has them
    #[arg(long, value_name = "WALL", value_enum, default_value_t)]
    wall: WallName,
    /// Have a program make the container, like runc or /usr/bin/crun; needs --wall container
    #[arg(long, value_name = "PROGRAM")]
    oci_runtime: Option<PathBuf>,
    /// Let others in: [IP:][HOST:]GUEST[/udp], ports or ranges; without IP only this host's own programs,
    /// with 0.0.0.0 everybody; without HOST a port of the host's choosing
    #[arg(short, long, value_name = "PORTS")]
    publish: Vec<String>,
    /// Let this host's own programs in by all ports that the image exposes, each a port of the host's choosing:
    /// husk port lists them
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Connect stdin to the workload
    #[arg(short, long)]
    interactive: bool,
    /// Run on a terminal of its own; with -i, it is this one that types on it
    #[arg(short, long)]
    tty: bool,
    /// Keys that leave the terminal of a machine in the background
    #[arg(long, value_name = "KEYS", default_value = DETACH_KEYS, value_parser = DetachKeys::parse)]
    detach_keys: DetachKeys,
    /// Measure this wall with husk's own program instead of the image's command
    #[arg(long, hide = true, conflicts_with_all = ["entrypoint", "user", "workdir"])]
    probe: bool,
    /// Say on stderr, after the workload and behind TOKEN, what it changed in the file system
    #[arg(long, hide = true, value_name = "TOKEN", conflicts_with = "probe")]
    changes: Option<String>,
    /// Name of the machine
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Write the outcome and its phases as JSON, to FILE or as the last line of stderr
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    json: Option<Option<PathBuf>>,
    /// Say what husk does; twice: show the guest's console too
    #[arg(long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Count the guest's exits by reason, and put them into the JSON
    #[arg(long, hide = true)]
    count_exits: bool,
    /// An image in the store, or oci:DIR, oci-archive:FILE, docker-archive:FILE
    #[arg(add = completion::images())]
    image: String,
    /// Command and arguments, instead of the image's
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

/// The walls by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum WallName {
    /// A machine of its own
    #[default]
    Vm,
    /// Namespaces of this host's kernel
    Container,
}

/// Makes a machine, and prints its ID.
pub fn create(args: Args) -> Status {
    if args.lifecycle.detach || args.json.is_some() {
        let text = "create starts nothing: --detach and --json are for husk run";
        return Err(Failure::new(text));
    }
    let image = args.image.clone();
    let held = run::create(&image, build_request(args, true)?)?;
    say(&format!("{}\n", held.machine.record.id))?;
    Ok(0)
}

/// Makes a machine, starts it, and prints its ID.
fn run_detached(args: Args) -> Status {
    if args.json.is_some() {
        let text =
            "--json says how a run ended, and -d does not wait for it: leave one of them away";
        return Err(Failure::new(text));
    }
    let image = args.image.clone();
    let held = run::create(&image, build_request(args, true)?)?;
    start_held(&held)?;
    say(&format!("{}\n", held.machine.record.id))?;
    Ok(0)
}

/// Runs the image and takes over its workload's exit status.
pub fn run(args: Args) -> Status {
    if args.lifecycle.detach {
        return run_detached(args);
    }
    if args.lifecycle.restart() != Restart::No {
        let text = "--restart needs -d: a run in the foreground ends with its workload";
        return Err(Failure::new(text));
    }
    let (image, json, verbose) = (args.image.clone(), args.json.clone(), args.verbose > 0);
    let request = build_request(args, false)?;
    let tell = |missing: &Missing| {
        if verbose || missing.asked {
            complain(&missing.text);
        }
    };
    let outcome = run::run(&image, request, tell)?;
    if outcome.timed_out {
        complain("the workload ran longer than --timeout and was killed");
    }
    if verbose {
        outcome.timeline.phases().for_each(|(phase, length)| {
            complain(&format!(
                "{:<9}{:>9.1} ms",
                phase.name(),
                milliseconds(length)
            ));
        });
    }
    if let Some(target) = json {
        write_json(&image, &outcome, target)?;
    }
    Ok(outcome.exit.status())
}

/// Who types in the background comes later, and has a terminal then.
fn build_request(args: Args, in_background: bool) -> Result<RunRequest, Failure> {
    let measure = args.probe.then_some(Probe::Measure);
    Ok(RunRequest {
        name: args.name,
        kernel: args.kernel,
        initrd: args.initrd,
        kernel_args: args.kernel_arg,
        timeout: args.timeout,
        boot_timeout: args.boot_timeout,
        publish: args.publish,
        publish_all: args.publish_all,
        wall: wall(args.wall, args.oci_runtime)?,
        probe: measure.or(args.changes.map(Probe::Changes)),
        stdin: args.interactive,
        terminal: terminal(args.tty, args.interactive && !in_background)?,
        verbose_console: args.verbose > 1,
        count_exits: args.count_exits,
        health: args.health.request(),
        lifecycle: args.lifecycle.lifecycle()?,
        ..args.workload.request(&args.command)?
    })
}

/// The first size of the workload's terminal, if it gets one: that of ours, or none where we have none.
pub(super) fn terminal(wanted: bool, types: bool) -> Result<Option<Size>, Failure> {
    if wanted && types && !terminal::is_stdin() {
        return Err(Failure::new(
            "the input device is not a TTY: leave out -t, or run husk on a terminal",
        ));
    }
    Ok(wanted.then(|| terminal::size().unwrap_or_default()))
}

fn wall(name: WallName, runtime: Option<PathBuf>) -> Result<Wall, Failure> {
    match (name, runtime) {
        (WallName::Vm, None) => Ok(Wall::Vm),
        (WallName::Vm, Some(_)) => Err(Failure::new(
            "--oci-runtime needs --wall container: a machine is made by husk itself",
        )),
        (WallName::Container, None) => Ok(Wall::Container(OciRuntime::Embedded)),
        (WallName::Container, Some(program)) => Ok(Wall::Container(OciRuntime::Program(program))),
    }
}

fn write_json(image: &str, outcome: &Outcome, target: Option<PathBuf>) -> Result<(), Failure> {
    let phases: serde_json::Map<_, _> = outcome
        .timeline
        .phases()
        .map(|(phase, length)| (phase.name().to_owned(), json!(milliseconds(length))))
        .collect();
    let mut document = json!({
        "image": image,
        "name": outcome.name,
        "status": outcome.exit.status(),
        "timed_out": outcome.timed_out,
        "missing": outcome.missing,
        "phases_ms": phases,
        "total_ms": milliseconds(outcome.timeline.total()),
    });
    if !outcome.exits.is_empty() {
        document["exits"] = json!(outcome.exits);
    }
    if !outcome.attempts.is_empty() {
        document["attempts"] = attempts::to_json(&outcome.attempts, &outcome.egress);
    }
    let text = format!("{document}\n");
    match target {
        Some(path) => fs::write(&path, text)
            .map_err(|error| Failure::new(format!("cannot write `{}`: {error}", path.display()))),
        None => Ok(io::stderr().write_all(text.as_bytes())?),
    }
}

fn milliseconds(length: Duration) -> f64 {
    (length.as_secs_f64() * 1e6).round() / 1e3
}

fn complain(line: &str) {
    // A closed stderr is no reason to change the exit status.
    let _closed = writeln!(io::stderr(), "husk: {line}");
}
