//! `husk attach`.
//!
//! What the workload says is read where everything is that it says, in the machine's log; what is typed goes
//! through the keeper.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::Status as ExitStatus;
use super::completion;
use super::machines::{REFUSED, refused};
use super::output::Failure;
use super::typing::{follow_size, type_on};
use crate::machines::{Answer, Cursor, Growth, Line, Machine, Reply, Request, Stream};
use crate::run;
use crate::spec::{DETACH_KEYS, DetachKeys, FORWARDED, Signal};
use crate::sys::signals;
use crate::sys::terminal::{self, Raw};

/// Connect this terminal to the workload of a machine in the background
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keys that leave the workload alone
    #[arg(long, value_name = "KEYS", default_value = DETACH_KEYS, value_parser = DetachKeys::parse)]
    detach_keys: DetachKeys,
    /// Type nothing
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the workload
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Name or ID
    #[arg(add = completion::running())]
    machine: String,
}

/// How long a machine that is gone may take to say how it ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often is looked for an end.
const OFTEN: Duration = Duration::from_millis(50);

/// Shows what the workload says from now on, and takes over its exit status.
pub fn attach(args: &Args) -> ExitStatus {
    let machine = run::machines()?.find(&args.machine).map_err(refused)?;
    if !machine.kept {
        return Err(refused(machine.not_running()));
    }
    let shown = Shown::open(&machine)?.skip()?;
    let habits = Habits {
        keys: args.detach_keys.clone(),
        types: !args.no_stdin && machine.record.request.stdin,
        passes_signals: args.sig_proxy,
    };
    connect(machine, shown, habits)
}

/// How a user wants to be connected.
#[derive(Debug)]
pub struct Habits {
    /// Leave the workload alone.
    pub keys: DetachKeys,
    /// Whether anything is typed.
    pub types: bool,
    /// Whether signals are the workload's.
    pub passes_signals: bool,
}

/// What is shown of a machine.
#[derive(Debug)]
pub struct Shown {
    cursor: Cursor,
    growth: Growth,
}

impl Shown {
    /// Everything that is in its log.
    pub fn open(machine: &Machine) -> Result<Self, Failure> {
        let cursor = Cursor::open(&machine.folder)?;
        let cursor = cursor.ok_or_else(|| {
            let name = &machine.record.name;
            let text =
                format!("machine `{name}` runs in the foreground: its streams are in use there");
            Failure::new(text).with_status(REFUSED)
        })?;
        let growth = Cursor::watch(&machine.folder)?;
        Ok(Self { cursor, growth })
    }

    /// Only what is said from now on.
    pub fn skip(mut self) -> Result<Self, Failure> {
        self.cursor.tail(0)?;
        Ok(self)
    }

    /// Shows what there is. The error is a user's end that takes nothing.
    fn show(&mut self) -> io::Result<()> {
        while let Some(piece) = self.cursor.advance()? {
            match piece.stream {
                Stream::Stdout => io::stdout().write_all(piece.bytes)?,
                Stream::Stderr => io::stderr().write_all(piece.bytes)?,
            }
        }
        io::stdout().flush()
    }
}

/// Connects to a machine that runs, until it ends; its exit status.
pub fn connect(mut machine: Machine, mut shown: Shown, habits: Habits) -> ExitStatus {
    let on_terminal = machine.record.request.terminal.is_some();
    if on_terminal && habits.types && !terminal::is_stdin() {
        let text = "the input device is not a TTY, and the workload has a terminal: add --no-stdin";
        return Err(Failure::new(text).with_status(REFUSED));
    }
    let (typed, keyboard) = io::pipe()?;
    let line = Arc::new(machine.attach(typed.as_fd()).map_err(refused)?);
    drop(typed);
    let raw = (on_terminal && habits.types).then(|| Raw::enter(&io::stdin()).ok());
    if habits.types {
        type_on(File::from(OwnedFd::from(keyboard)), habits.keys)?;
    }
    if on_terminal {
        follow_size(&line)?;
    } else if habits.passes_signals {
        pass_signals_on(&line)?;
    }
    let ended = follow(&mut machine, &line, &mut shown);
    drop(raw);
    ended
}

fn pass_signals_on(line: &Arc<Line>) -> io::Result<()> {
    let line = Arc::clone(line);
    let passed: Vec<u8> = FORWARDED
        .into_iter()
        .filter(|number| *number != Signal::WINCH.number())
        .collect();
    signals::deliver(&passed, move |number| {
        line.send(&Request::Signal { number });
    })
}

/// Shows everything, to the end.
fn follow(machine: &mut Machine, line: &Line, shown: &mut Shown) -> ExitStatus {
    let mut ended = None;
    while ended.is_none() {
        shown.show()?;
        shown.growth.wait(OFTEN)?;
        ended = next_end(machine, line)?;
    }
    // Its last words are in the log by now.
    shown.show()?;
    Ok(ended.unwrap_or_default())
}

/// The machine's exit status, if it has ended meanwhile.
fn next_end(machine: &mut Machine, line: &Line) -> Result<Option<u8>, Failure> {
    loop {
        match line.wait(Some(Duration::ZERO))? {
            Answer::Reply(Reply::Ended { status }) => {
                // Then its keeper goes, too, and what it wrote is whole.
                line.wait(Some(PATIENCE))?;
                return Ok(Some(status));
            }
            Answer::Late => return Ok(None),
            Answer::Gone => {
                // Killed; or one run of several, and the next one is another connection's.
                machine.refresh()?;
                return Ok(Some(machine.state.exit_code));
            }
            Answer::Reply(_) => {}
        }
    }
}
