//! `husk completion`: what makes a shell complete husk's words. The shell asks husk itself, by a variable
//! of the environment, so names and images are those of the moment.

use std::env;
use std::ffi::OsStr;

use clap::Command;
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{CompleteEnv, Shells};

use super::Status;
use super::output::{Failure, say};
use crate::image::Store;
use crate::run;
use crate::volumes::Volumes;

/// By which a shell asks.
const VARIABLE: &str = "HUSK_COMPLETE";

/// Print what makes a shell complete husk's words
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Now:      source <(husk completion bash)
For good: husk completion bash > ~/.local/share/bash-completion/completions/husk
          husk completion zsh > \"${fpath[1]}/_husk\"
          husk completion fish > ~/.config/fish/completions/husk.fish")]
pub struct Args {
    /// Which shell
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

/// Prints the script.
pub fn completion(args: &Args) -> Status {
    let shells = Shells::builtins();
    let unknown = || Failure::new(format!("nothing is known of the shell `{}`", args.shell));
    let shell = shells.completer(&args.shell).ok_or_else(unknown)?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "husk", "husk", "husk", &mut script)?;
    say(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// Answers a shell that asks, and ends the process; comes back when none does.
pub fn answer(command: fn() -> Command) {
    // Looked for first: almost always there is nothing to do.
    if env::var_os(VARIABLE).is_some() {
        CompleteEnv::with_factory(command).var(VARIABLE).complete();
    }
}

/// Completes images by their names.
pub fn images() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| starting_with(typed, image_names()))
}

/// Completes machines by theirs.
pub fn machines() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| starting_with(typed, machine_names(false)))
}

/// The same, of those that run.
pub fn running() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| starting_with(typed, machine_names(true)))
}

/// What either may be.
pub fn machines_and_images() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        starting_with(typed, machine_names(false).chain(image_names()))
    })
}

/// Volumes.
pub fn volumes() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let list = Store::default_path().map(|path| Volumes::of(&path).list());
        let list = list.into_iter().flatten().flatten();
        starting_with(typed, list.map(|volume| volume.record.name))
    })
}

/// Networks of machines.
pub fn networks() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let list = run::networks::networks().map(|networks| networks.list());
        let list = list.into_iter().flatten().flatten();
        starting_with(typed, list.map(|network| network.name))
    })
}

/// Files here, and machines in whose files a path goes on.
pub fn places() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let machines = machine_names(true).map(|name| name + ":");
        let mut places = starting_with(typed, machines);
        places.extend(PathCompleter::any().stdio().complete(typed));
        places
    })
}

fn image_names() -> impl Iterator<Item = String> {
    let images = Store::default_path()
        .and_then(|path| Store::open(&path))
        .and_then(|store| store.images());
    let names = images.into_iter().flatten().flat_map(|image| image.names);
    names.map(|name| name.familiar())
}

fn machine_names(running_only: bool) -> impl Iterator<Item = String> {
    let list = run::machines().map(|machines| machines.list(running_only));
    let list = list.into_iter().flatten().flatten();
    list.map(|machine| machine.record.name)
}

fn starting_with(typed: &OsStr, words: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    words
        .filter(|word| word.starts_with(typed.as_ref()))
        .map(CompletionCandidate::new)
        .collect()
}
