//! The command line: arguments, one file per verb, exit codes.

mod attach;
mod attempts;
mod commit;
mod compare;
mod completion;
mod cp;
mod diff;
mod doctor;
mod env;
mod events;
mod exec;
mod export;
mod health;
mod help;
mod images;
mod inspect;
mod kill;
mod lifecycle;
mod load;
mod logs;
mod machines;
mod man;
mod network;
mod output;
mod pause;
mod port;
mod progress;
mod prune;
mod ps;
mod rates;
mod rename;
mod rm;
mod rmi;
mod run;
mod settings;
mod setup;
mod start;
mod stats;
mod stop;
mod template;
mod top;
mod typing;
mod update;
mod volume;
mod wait;
mod workload;

use std::env::args_os;
use std::ffi::OsStr;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use clap::{Args as _, Command, FromArgMatches, Subcommand};

use crate::container::{
    ARCHIVER_VERB, FAR_END_VERB, TENANT_VERB, serve_archiver, serve_far_end, serve_tenant,
};
use crate::run::{HEIR_VERB, KEEPER_VERB, SWITCH_VERB, inherit, keep, serve_switch};
use crate::vmm;

/// husk itself failed; Docker's table.
const HUSK_FAILED: u8 = 125;

#[derive(Debug, Subcommand)]
enum Verb {
    Run(Box<run::Args>),
    /// Make a machine without starting it, and print its ID
    Create(Box<run::Args>),
    Start(start::Args),
    Exec(exec::Args),
    Attach(attach::Args),
    Cp(cp::Args),
    Diff(diff::Args),
    Export(export::Args),
    Commit(commit::Args),
    Stop(stop::Args),
    /// Stop machines, and start them again
    Restart(stop::Args),
    Kill(kill::Args),
    Pause(pause::Args),
    /// Let paused machines go on
    Unpause(pause::Args),
    Wait(wait::Args),
    Ps(ps::Args),
    Events(events::Args),
    Stats(stats::Args),
    Top(top::Args),
    Port(port::Args),
    Logs(logs::Args),
    Rename(rename::Args),
    Update(update::Args),
    Rm(rm::Args),
    Compare(Box<compare::Args>),
    Load(load::Args),
    Images(images::Args),
    Rmi(rmi::Args),
    Inspect(inspect::Args),
    Prune(prune::Args),
    Volume(volume::Args),
    Network(network::Args),
    Doctor(doctor::Args),
    Completion(completion::Args),
    Man(man::Args),
    Help(help::Args),
}

/// What a verb answers: the exit status of the process.
type Status = Result<u8, output::Failure>;

/// Reads the command line, does what it says, and gives the exit status.
pub fn main() -> ExitCode {
    // The process of a machine is this binary too, and so are a keeper and others; their words are not arguments
    // of people's.
    let mut words = args_os().skip(1);
    match (words.next(), words.next()) {
        (Some(verb), _) if verb == vmm::MACHINE_VERB => return vmm::serve(),
        (Some(verb), _) if verb == ARCHIVER_VERB => return serve_archiver(),
        (Some(verb), _) if verb == FAR_END_VERB => return serve_far_end(),
        (Some(verb), _) if verb == SWITCH_VERB => return serve_switch(),
        (Some(verb), _) if verb == TENANT_VERB => return serve_tenant(),
        (Some(verb), Some(id)) if verb == KEEPER_VERB => {
            return keep(&id.to_string_lossy());
        }
        (Some(verb), Some(id)) if verb == HEIR_VERB => return inherit(&id.to_string_lossy()),
        _ => {}
    }
    completion::answer(command_line);
    match configured().and_then(|command| match read_words(command) {
        Ok(verb) => dispatch(verb),
        Err(status) => Ok(status),
    }) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.status())
        }
    }
}

/// The command line without its verbs.
fn bare() -> Command {
    Command::new("husk")
        .about("Runs every container image in its own micro-VM on KVM")
        .version(env!("CARGO_PKG_VERSION"))
        .max_term_width(100)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
}

/// The whole command line.
fn command_line() -> Command {
    Verb::augment_subcommands(bare())
}

/// The command line as far as `verb` needs it, where that is typed often and waited for: to make them all
/// takes a hundredth of a run.
fn narrow(verb: &OsStr) -> Option<Command> {
    let augment = match verb.to_str()? {
        "run" => run::Args::augment_args,
        "exec" => exec::Args::augment_args,
        "ps" => ps::Args::augment_args,
        _ => return None,
    };
    Some(bare().subcommand(augment(Command::new(verb.to_str()?.to_owned()))))
}

/// The command line, with what the configuration file wants of it.
fn configured() -> Result<Command, output::Failure> {
    let path = settings::default_path();
    let text = path.as_deref().map(settings::read).transpose()?.flatten();
    match (path, text) {
        (Some(path), Some(text)) => settings::apply(command_line(), &path, &text),
        _ => {
            let verb = args_os().nth(1);
            Ok(verb
                .as_deref()
                .and_then(narrow)
                .unwrap_or_else(command_line))
        }
    }
}

/// The verb that was typed; the exit status when what was typed is none, or asks for help.
fn read_words(command: Command) -> Result<Verb, u8> {
    // To take it apart would take longer than to read by it.
    let mut command = ManuallyDrop::new(command);
    let read = command.try_get_matches_from_mut(args_os());
    match read.and_then(|matches| Verb::from_arg_matches(&matches)) {
        Ok(verb) => Ok(verb),
        Err(error) => {
            // Nobody is left to tell when the terminal is gone.
            let _closed = error.print();
            Err(if error.use_stderr() { HUSK_FAILED } else { 0 })
        }
    }
}

fn dispatch(verb: Verb) -> Status {
    match verb {
        Verb::Run(args) => run::run(*args),
        Verb::Create(args) => run::create(*args),
        Verb::Exec(args) => exec::exec(args),
        Verb::Attach(args) => attach::attach(&args),
        Verb::Cp(args) => cp::cp(&args),
        Verb::Diff(args) => diff::diff(&args),
        Verb::Export(args) => export::export(&args),
        Verb::Commit(args) => commit::commit(args),
        Verb::Start(args) => start::start(&args),
        Verb::Stop(args) => stop::stop(&args),
        Verb::Restart(args) => stop::restart(&args),
        Verb::Kill(args) => kill::kill(&args),
        Verb::Pause(args) => pause::pause(&args),
        Verb::Unpause(args) => pause::unpause(&args),
        Verb::Wait(args) => wait::wait(&args),
        Verb::Events(args) => events::events(&args),
        Verb::Stats(args) => stats::stats(&args),
        Verb::Top(args) => top::top(&args),
        Verb::Port(args) => port::port(&args),
        Verb::Ps(args) => ps::ps(&args),
        Verb::Logs(args) => logs::logs(&args),
        Verb::Rename(args) => rename::rename(&args),
        Verb::Update(args) => update::update(&args),
        Verb::Rm(args) => rm::rm(&args),
        Verb::Compare(args) => compare::compare(*args),
        Verb::Load(args) => load::load(args),
        Verb::Images(args) => images::images(&args),
        Verb::Rmi(args) => rmi::rmi(&args),
        Verb::Inspect(args) => inspect::inspect(&args),
        Verb::Prune(args) => prune::prune(&args),
        Verb::Volume(args) => volume::volume(args),
        Verb::Network(args) => network::network(args),
        Verb::Doctor(args) => doctor::doctor(&args),
        Verb::Completion(args) => completion::completion(&args),
        Verb::Man(args) => man::man(&args, command_line()),
        Verb::Help(args) => help::help(&args, command_line()),
    }
}
