//! The command between the snapshots. It gets the signals that are sent to this process, and leaves nobody
//! behind: what runs on could change files while they are looked at.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{CString, c_int};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;

use husk_init::command::candidates;
use husk_init::exit::{Exit, Failure, Stage};
use husk_init::sys::process::kill;
use husk_init::sys::{self, wait};
use husk_init::workload::Program;

use super::complain;
use crate::sys::process::{adopt_orphans, start};
use crate::sys::signals::{Held, hold};

/// Signals that are not passed on: those that nobody can hold back, faults of this program's own, its
/// writes to a closed pipe, and what stops a job of a terminal.
const OWN: [c_int; 13] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGPIPE,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// The last signal of Linux.
const LAST: c_int = 64;

/// A command that is ready to run.
#[derive(Debug)]
pub struct Workload {
    command: Vec<u8>,
    program: Program,
    held: Held,
}

impl Workload {
    /// Gets everything ready for `argv`; signals wait for it from now on.
    pub fn prepare(argv: Vec<Vec<u8>>) -> io::Result<Self> {
        let passed = (1..=LAST).filter(|signal| !OWN.contains(signal));
        let signals: Vec<_> = passed.chain([libc::SIGCHLD]).collect();
        let held = hold(&signals)?;
        adopt_orphans()?;
        let pairs =
            env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
        let env: Vec<_> = pairs.collect();
        let command = argv.first().cloned().unwrap_or_default();
        Ok(Self {
            program: Program {
                files: strings(&candidates(&command, &env))?,
                argv: strings(&argv)?,
                env: strings(&env)?,
            },
            command,
            held,
        })
    }

    /// Runs it to its end, and everybody whom it left; its status as a shell would show it. A command that
    /// cannot be executed has one too.
    pub fn run(self) -> io::Result<u8> {
        let status = match start(&self.program) {
            Ok(pid) => self.follow(pid)?.status(),
            Err(error) => {
                let shown = String::from_utf8_lossy(&self.command);
                complain(&format!("`{shown}`: {error}"));
                let failure = Failure {
                    stage: Stage::Exec,
                    errno: error.raw_os_error().unwrap_or_default(),
                    detail: Vec::new(),
                };
                failure.status()
            }
        };
        end_leftovers();
        Ok(status)
    }

    fn follow(&self, pid: libc::pid_t) -> io::Result<Exit> {
        loop {
            let signal = self.held.wait()?;
            if signal != libc::SIGCHLD {
                // Too late for one that is dead: no harm.
                let _dead = kill(pid, signal);
                continue;
            }
            while let Ok(Some((dead, status))) = wait::any_child() {
                if dead == pid {
                    return Ok(exit(status));
                }
            }
        }
    }
}

fn exit(status: c_int) -> Exit {
    let byte = |number: c_int| u8::try_from(number).unwrap_or(u8::MAX);
    if libc::WIFSIGNALED(status) {
        Exit::Signal(byte(libc::WTERMSIG(status)))
    } else {
        Exit::Code(byte(libc::WEXITSTATUS(status)))
    }
}

/// Ends the children that are left, then the orphans that this makes, until there are none. One that may
/// not be killed, because it runs as somebody else, is not waited for.
fn end_leftovers() {
    let mut refused = BTreeSet::new();
    loop {
        let mut left = children();
        left.retain(|pid| !refused.contains(pid));
        if left.is_empty() {
            return;
        }
        for pid in left {
            match kill(pid, libc::SIGKILL) {
                Ok(()) => wait::gone(pid),
                Err(_) => {
                    refused.insert(pid);
                }
            }
        }
    }
}

/// The processes whose parent is this one.
fn children() -> Vec<libc::pid_t> {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid| parent(*pid).is_some_and(|parent| parent == own))
        .collect()
}

/// Field 4 of proc_pid_stat(5); field 2 is a name in brackets that may have anything in it.
fn parent(pid: libc::pid_t) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1).map(str::to_owned)
}

fn strings(list: &[Vec<u8>]) -> io::Result<Vec<CString>> {
    let strings = list.iter().map(|bytes| sys::string(bytes));
    Ok(strings.collect::<sys::Result<_>>()?)
}
