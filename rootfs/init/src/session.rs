//! A session: one process, its streams, its signals, its end.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

use husk_init::exit::{Failure, Stage};
use husk_init::job::{Process, Size};

use crate::spawn::spawn;
use crate::stream::{self, Streams};
use husk_init::archive::program;
use husk_init::failure::At;
use husk_init::sys::{self, file, process};
use husk_init::user;
use husk_init::workload::Program;

/// Init's own file, whatever the image has anywhere.
const ITSELF: &CStr = c"/proc/self/exe";

/// The image's own workload.
pub const WORKLOAD: u32 = 0;

/// A process that was started, and what is left of it.
#[derive(Debug)]
pub struct Session {
    /// The number that the host gave it.
    pub id: u32,
    /// Its process, until it is buried: then the number may be another's.
    pid: Option<libc::pid_t>,
    /// Whether everybody else stands still as long as it lives.
    pub halts: bool,
    /// What carries its streams.
    pub streams: Streams,
}

impl Session {
    /// Resolves the user, connects the streams, and spawns.
    pub fn start(id: u32, wanted: &Process, upper: &OwnedFd) -> Result<Self, Failure> {
        let user = user::resolve(&wanted.user)?;
        let wires = stream::connect(id, wanted)?;
        for end in &wires.process {
            // Behind /dev/stdout is the pipe itself, and only its owner may open it again; and a
            // terminal is its user's.
            file::give_to(end, user.uid).at(Stage::Stream, b"")?;
        }
        if let (WORKLOAD, Streams::Terminal(Some(terminal))) = (id, &wires.streams) {
            terminal
                .show_as_console()
                .at(Stage::Terminal, b"/dev/console")?;
        }
        let program = match wanted.own {
            false => Program::new(wanted, &user)?,
            true => own_program(wanted, upper)?,
        };
        let pid = spawn(wanted, &user, &program, &wires.process)?;
        Ok(Self {
            id,
            pid: Some(pid),
            halts: wanted.own && program::halting(&wanted.argv).is_some(),
            streams: wires.streams,
        })
    }

    /// A process that somebody else started.
    #[cfg(test)]
    pub fn adopt(id: u32, pid: libc::pid_t, streams: Streams) -> Self {
        Self {
            id,
            pid: Some(pid),
            halts: false,
            streams,
        }
    }

    /// Whether `pid` is its process; then that is dead and buried, and its input is over.
    pub fn bury(&mut self, pid: libc::pid_t) -> bool {
        let own = self.pid == Some(pid);
        if own {
            self.pid = None;
            self.streams.let_go();
        }
        own
    }

    /// Whether everybody else stands still for it.
    pub fn is_halting(&self) -> bool {
        self.halts && self.pid.is_some()
    }

    /// Whether nothing of it is left.
    pub fn is_over(&self) -> bool {
        self.pid.is_none() && self.streams.is_over()
    }

    /// Sends its process a signal.
    pub fn signal(&self, number: u8) {
        if let Some(pid) = self.pid {
            // Too late for a process that is dead but not buried: no harm.
            let _dead = process::kill(pid, number.into());
        }
    }

    /// Gives its terminal another size; pipes have none.
    pub fn resize(&self, size: Size) {
        if let Streams::Terminal(Some(terminal)) = &self.streams {
            terminal.resize(size);
        }
    }
}

/// Init's file, called by another name. It finds what the workload wrote behind our descriptor.
#[cold]
fn own_program(wanted: &Process, upper: &OwnedFd) -> Result<Program, Failure> {
    let upper = format!("/proc/1/fd/{}", upper.as_raw_fd());
    let mut words = vec![program::NAME.as_bytes(), upper.as_bytes()];
    words.extend(wanted.argv.iter().skip(1).map(Vec::as_slice));
    let argv = words.into_iter().map(sys::string);
    Ok(Program {
        files: vec![ITSELF.to_owned()],
        argv: argv.collect::<sys::Result<_>>().at(Stage::Exec, b"")?,
        env: Vec::new(),
    })
}
