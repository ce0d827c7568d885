//! A container that runs: its end, the user's signals, `--timeout`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use husk_init::exit::Exit;
use husk_init::sys::wait::{block, set_of, signalfd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal as KernelSignal, WaitId, WaitIdOptions, pidfd_open, waitid,
};

use super::console::Console;
use super::far_end::FarEnd;
use crate::spec::{Ending, FORWARDED, PATIENCE, Signal};
use crate::sys::signals;

/// The signals of the user, held back until they are asked for.
#[derive(Debug)]
pub struct Signals(OwnedFd);

/// A container's first process; or one that a tenant is the parent of.
#[derive(Debug)]
pub struct Init {
    /// Refers to it, and to nobody else.
    pub pidfd: OwnedFd,
}

impl Signals {
    /// Holds them back from now on. What our parent ignored is ours to decide: the container's end could
    /// not be waited for while SIGCHLD is ignored, and a runtime would hand the rest on to the workload.
    pub fn hold() -> io::Result<Self> {
        let numbers = FORWARDED.map(i32::from);
        let set = set_of(&numbers);
        block(&set)?;
        signals::heed_all_but_pipe()?;
        Ok(Self(signalfd(&set)?))
    }

    fn take(&self) -> Option<Signal> {
        signals::take(&self.0).and_then(Signal::from_number)
    }
}

impl Init {
    /// The process `pid`, a child of ours or to become one.
    pub fn of(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
        })
    }

    /// Kills it, and with it everything in its PID namespace.
    pub fn kill(&self) {
        self.send(KernelSignal::KILL);
    }

    /// Another handle of it.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            pidfd: self.pidfd.try_clone()?,
        })
    }

    /// Gives it a signal, if the host can.
    pub fn signal(&self, signal: Signal) {
        if let Some(known) = KernelSignal::from_named_raw(signal.number().into()) {
            self.send(known);
        }
    }

    fn send(&self, signal: KernelSignal) {
        // Dead already: no harm.
        let _dead = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    /// Waits for its end.
    pub fn bury(&self) -> io::Result<Exit> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(status) => {
                    let number = |value: i32| u8::try_from(value & 0xff).unwrap_or(u8::MAX);
                    let status = status.ok_or(io::ErrorKind::NotFound)?;
                    return Ok(match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Exit::Code(number(code)),
                        (_, Some(signal)) => Exit::Signal(number(signal)),
                        _ => Exit::Signal(Signal::KILL.number()),
                    });
                }
            }
        }
    }
}

/// What a container listens to while it runs.
#[derive(Debug)]
pub struct Leads<'a> {
    /// The user.
    pub signals: &'a Signals,
    /// Its terminal, if it has one.
    pub console: Option<&'a Console>,
    /// Its network, if it has one: without it, it ends.
    pub network: Option<&'a FarEnd>,
}

/// What has come, of what was waited for.
#[derive(Debug, Default)]
struct Come {
    end: bool,
    signal: bool,
    /// The network is gone.
    loss: bool,
}

/// Carries signals until the workload ends; what tells of a new size of the user's terminal is the size
/// of the workload's. A second SIGTERM, long enough after the first, ends it in
/// any case.
pub fn follow(init: &Init, leads: &Leads<'_>, timeout: Option<Duration>) -> io::Result<Ending> {
    let Leads {
        signals,
        console,
        mut network,
    } = *leads;
    let mut deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut first_term: Option<Instant> = None;
    let mut timed_out = false;
    let mut dismissed = None;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let come = wait(init, signals, network, left)?;
        if come.end {
            let exit = init.bury()?;
            return Ok(Ending {
                exit: dismissed.unwrap_or(exit),
                timed_out,
                exits: BTreeMap::new(),
            });
        }
        if left.is_some_and(|left| left.is_zero()) {
            (timed_out, deadline) = (true, None);
            init.kill();
        }
        if come.loss {
            network = None;
            init.kill();
        }
        let Some(signal) = come.signal.then(|| signals.take()).flatten() else {
            continue;
        };
        if let (Signal::WINCH, Some(console)) = (signal, console) {
            console.follow_size();
            continue;
        }
        let heeded = first_term.is_none_or(|first| first.elapsed() < PATIENCE);
        if signal == Signal::TERM && !heeded {
            dismissed = Some(Exit::Signal(signal.number()));
            init.kill();
        } else {
            init.signal(signal);
        }
        if signal == Signal::TERM {
            first_term.get_or_insert_with(Instant::now);
        }
    }
}

/// Waits for the end, a signal of the user's, the loss of the network, or as long as is `left`.
fn wait(
    init: &Init,
    signals: &Signals,
    network: Option<&FarEnd>,
    left: Option<Duration>,
) -> io::Result<Come> {
    let mut entries = vec![
        PollFd::new(&init.pidfd, PollFlags::IN),
        PollFd::new(&signals.0, PollFlags::IN),
    ];
    entries.extend(network.map(|network| PollFd::new(network, PollFlags::IN)));
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut entries, left.as_ref()) {
        Err(rustix::io::Errno::INTR) | Ok(_) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut come = entries.iter().map(|entry| !entry.revents().is_empty());
    let mut next = || come.next().unwrap_or(false);
    Ok(Come {
        end: next(),
        signal: next(),
        loss: next(),
    })
}
