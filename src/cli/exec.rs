//! `husk exec`.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::Status as ExitStatus;
use super::completion;
use super::env;
use super::machines::refused;
use super::output::Failure;
use super::run::terminal as terminal_of;
use super::typing::{follow_size, type_on};
use crate::machines::{Answer, Line, Machine, Reply};
use crate::run;
use crate::spec::{DETACH_KEYS, DetachKeys, EnvWord, Exec, Signal, merge_environment};
use crate::sys::terminal::Raw;

/// Run another command in a machine that runs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Connect stdin to the command
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Come back when the command has started; what it says is for nobody
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,
    /// Keys that leave the command alone
    #[arg(long, value_name = "KEYS", default_value = DETACH_KEYS, value_parser = DetachKeys::parse)]
    detach_keys: DetachKeys,
    /// Set an environment variable; KEY alone takes its value from here
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    env: Vec<OsString>,
    /// Read environment variables from a file, one KEY=VALUE per line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Working directory of the command [default: the workload's]
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User of the command: name|uid[:group|gid] [default: the workload's]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Name or ID
    #[arg(add = completion::running())]
    machine: String,
    /// Command and arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

/// Runs the command, and takes over its exit status.
pub fn exec(args: Args) -> ExitStatus {
    let mut machine = run::machines()?.find(&args.machine).map_err(refused)?;
    let exec = build(&args, &machine)?;
    let on_terminal = exec.terminal.is_some();
    let [stdin, stdout, stderr] = streams(&args)?;
    let typed = (on_terminal && args.interactive)
        .then(io::pipe)
        .transpose()?;
    let (typed, keyboard) = typed.unzip();
    let stdin = typed.map_or(stdin, OwnedFd::from);
    let files = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let line = Arc::new(machine.exec(exec, &files).map_err(refused)?);
    drop(stdin);
    if let Some(status) = wait_for_start(&line)? {
        return Ok(status);
    }
    if args.detach {
        return Ok(0);
    }
    // A terminal that is gone need not be raw.
    let raw = keyboard.as_ref().map(|_| Raw::enter(&io::stdin()).ok());
    if let Some(keyboard) = keyboard {
        type_on(OwnedFd::from(keyboard).into(), args.detach_keys)?;
    }
    if on_terminal {
        follow_size(&line)?;
    }
    let ended = wait_for_end(&line);
    drop(raw);
    ended
}

fn build(args: &Args, machine: &Machine) -> Result<Exec, Failure> {
    let mut words: Vec<EnvWord> = Vec::new();
    for file in &args.env_file {
        words.extend(env::read_file(file)?);
    }
    for word in &args.env {
        words.push(env::parse_word(word).map_err(Failure::new)?);
    }
    let resolved = &machine.record.resolved;
    let workdir = args.workdir.clone();
    let workdir = workdir.unwrap_or_else(|| resolved.workdir.clone());
    if !workdir.starts_with('/') {
        let text = format!("--workdir `{workdir}`: write an absolute path");
        return Err(Failure::new(text));
    }
    Ok(Exec {
        argv: args
            .command
            .iter()
            .cloned()
            .map(OsString::into_vec)
            .collect(),
        env: merge_environment(&resolved.env, &resolved.hostname, &words),
        workdir,
        user: args.user.clone().unwrap_or_else(|| resolved.user.clone()),
        stdin: args.interactive,
        terminal: terminal_of(args.tty, args.interactive)?,
        own: false,
    })
}

/// Ours, as far as the command gets them.
fn streams(args: &Args) -> Result<[OwnedFd; 3], Failure> {
    let nowhere = || File::options().read(true).write(true).open("/dev/null");
    let own = |own: io::Result<OwnedFd>, wanted: bool| match wanted {
        true => own,
        false => nowhere().map(OwnedFd::from),
    };
    Ok([
        own(io::stdin().as_fd().try_clone_to_owned(), args.interactive)?,
        own(io::stdout().as_fd().try_clone_to_owned(), !args.detach)?,
        own(io::stderr().as_fd().try_clone_to_owned(), !args.detach)?,
    ])
}

/// Waits until the command runs; its end, where it never does.
fn wait_for_start(line: &Line) -> Result<Option<u8>, Failure> {
    loop {
        match line.wait(None)? {
            Answer::Reply(Reply::Started) => return Ok(None),
            answer => {
                if let Some(status) = end_of(answer)? {
                    return Ok(Some(status));
                }
            }
        }
    }
}

fn wait_for_end(line: &Line) -> ExitStatus {
    loop {
        if let Some(status) = end_of(line.wait(None)?)? {
            return Ok(status);
        }
    }
}

/// The command's exit status, if this was its end.
fn end_of(answer: Answer) -> Result<Option<u8>, Failure> {
    match answer {
        Answer::Reply(Reply::Exited { status }) => Ok(Some(status)),
        Answer::Reply(Reply::Failed { text, status }) => {
            Err(Failure::new(text).with_status(status))
        }
        Answer::Gone => {
            let killed = 128 + Signal::KILL.number();
            Err(Failure::new("the machine ended before the command did").with_status(killed))
        }
        // The machine's end comes with the command's; and answers to sizes say nothing.
        Answer::Reply(_) | Answer::Late => Ok(None),
    }
}
