//! A session: one process, its three streams, its signals, its end.

use std::os::fd::OwnedFd;

use husk_init::exit::{Exit, Failure, Stage};
use husk_init::frame::Frame;
use husk_init::job::Process;

use crate::control::{Control, Stop};
use crate::reap::bury_the_dead;
use crate::relay::{Flow, Relay};
use crate::spawn::spawn;
use crate::stream;
use husk_init::failure::{At, refused};
use husk_init::sys::wait::{self, IDLE, entry, poll};
use husk_init::sys::{file, process};
use husk_init::user;

/// A running process.
#[derive(Debug)]
pub struct Session {
    id: u32,
    pid: libc::pid_t,
    /// Readable when a child has died.
    deaths: OwnedFd,
    stdin: Option<Relay>,
    outputs: [Option<Relay>; 2],
}

/// What poll looks at: deaths, the control channel, and two ends of each stream.
const ENTRIES: usize = 8;
const DEATHS: usize = 0;
const CONTROL: usize = 1;
const STREAMS: usize = 2;

impl Session {
    /// Resolves the user, connects the streams, and spawns.
    pub fn start(id: u32, wanted: &Process) -> Result<Self, Failure> {
        let user = user::resolve(&wanted.user)?;
        let deaths = hold_deaths().at(Stage::Fork, b"SIGCHLD")?;
        let wires = stream::connect(id, wanted.stdin).at(Stage::Stream, b"")?;
        for end in &wires.workload {
            // Behind /dev/stdout is the pipe itself, and only its owner may open it again.
            file::give_to(end, user.uid).at(Stage::Stream, b"")?;
        }
        let pid = spawn(wanted, &user, &wires.workload)?;
        Ok(Self {
            id,
            pid,
            deaths,
            stdin: wires.stdin,
            outputs: wires.outputs,
        })
    }

    /// Carries streams and signals until the process ends.
    pub fn follow(&mut self, control: &mut Control) -> Result<Exit, Stop> {
        loop {
            let ready = self.wait(control)?;
            if ready[DEATHS] != 0 {
                wait::take_signal(&self.deaths);
                if let Some(exit) = bury_the_dead(self.pid) {
                    return Ok(exit);
                }
            }
            if ready[CONTROL] != 0 {
                self.obey(control)?;
            }
        }
    }

    /// Carries what the outputs still hold. Nobody writes any more, so each of them ends.
    pub fn drain(&mut self, control: &mut Control) -> Result<(), Stop> {
        self.stdin = None;
        while self.outputs.iter().any(Option::is_some) {
            if self.wait(control)?[CONTROL] != 0 {
                // Only signals come now, and nobody is left to get them.
                control.receive()?;
            }
        }
        Ok(())
    }

    /// Waits for something to happen, and lets the streams flow.
    fn wait(&mut self, control: &Control) -> Result<[i16; ENTRIES], Stop> {
        let mut entries = [IDLE; ENTRIES];
        entries[DEATHS] = entry(&self.deaths, libc::POLLIN);
        entries[CONTROL] = entry(control.channel(), libc::POLLIN);
        for (pair, relay) in entries[STREAMS..].chunks_exact_mut(2).zip(self.streams()) {
            if let Some(relay) = relay {
                pair.copy_from_slice(&relay.entries());
            }
        }
        let timeout = if control.is_ahead() { 0 } else { -1 };
        poll(&mut entries, timeout).map_err(|_| Stop::HostGone)?;
        let mut ready = entries.map(|entry| entry.revents);
        for (pair, relay) in ready[STREAMS..].chunks_exact(2).zip(self.streams()) {
            if let Some(open) = relay
                && open.turn([pair[0], pair[1]]) == Flow::Ended
            {
                *relay = None;
            }
        }
        if control.is_ahead() {
            ready[CONTROL] = libc::POLLIN;
        }
        Ok(ready)
    }

    fn streams(&mut self) -> impl Iterator<Item = &mut Option<Relay>> {
        std::iter::once(&mut self.stdin).chain(&mut self.outputs)
    }

    fn obey(&self, control: &mut Control) -> Result<(), Stop> {
        match control.receive()? {
            Frame::Signal { session, number } if session == self.id => {
                // Too late for a process that is dead but not buried: no harm.
                let _ = process::kill(self.pid, number.into());
                Ok(())
            }
            _ => Err(refused(Stage::Protocol, b"a running session takes signals only").into()),
        }
    }
}

/// Deaths are read from a descriptor, so they are held back as signals.
fn hold_deaths() -> husk_init::sys::Result<OwnedFd> {
    let set = wait::set_of(&[libc::SIGCHLD]);
    wait::block(&set)?;
    wait::signalfd(&set)
}
