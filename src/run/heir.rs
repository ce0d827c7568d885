//! Who starts a machine again that was started without a policy, and got one while it ran.
//!
//! ```text
//!  husk update --restart P                 the heir: husk's own binary, in a session of its own
//!    ├─ starts it ────────────────────────▶ ├─ connects to the keeper, and gets the machine's lock too
//!    │ ◀─────────────────────────── Started ┤
//!    └─ has the keeper change the record     ├─ waits for the keeper's end
//!                                            └─ goes on as a keeper with --restart does
//! ```
//!
//! The keeper cannot do it itself: it runs a container in namespaces of its own, which an ordinary user never leaves, and has
//! threads, which never fork. An heir that is killed is missed: the connection says so, and the run's end is that of the machine.

use std::os::fd::AsFd;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open, setsid};

use super::Error;
use super::keeper::{Reporter, Verdict, goes_on, hear, machines, spawn, supervise};
use super::life::needs_supervisor;
use crate::machines::{self, Control, Held, Line, Machine};
use crate::spec::{Backoff, Update, time};
use crate::sys::fork::keep_only;

/// The verb by which the binary becomes one. Not for people.
pub const HEIR_VERB: &str = "heir";

/// Changes a machine, whether it runs or not.
pub fn update(machine: Machine, update: &Update) -> Result<(), Error> {
    // What nobody could want is told before anything is changed.
    update.read(&machine.record.request)?;
    if machine.state.status.is_up() && update.restart.is_some_and(needs_supervisor) {
        let begun = spawn(HEIR_VERB, &machine.record.id, Stdio::null())?;
        hear(begun, |_| {})?;
    }
    Ok(machines()?.update(machine, update)?)
}

/// Becomes the heir of the machine `id`.
pub fn inherit(id: &str) -> ExitCode {
    // It fails for who leads a group, and such a one is nobody's child.
    let _own_session = setsid();
    match wait_and_take_over(id) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn wait_and_take_over(id: &str) -> Result<(), Error> {
    let mut reporter = Reporter::stdout()?;
    // What else a shell had open is not to stay open as long as the machine runs.
    keep_only(&reporter.file())?;
    let succeeded = succeed(id).inspect_err(|error| reporter.tell(&Verdict::failed(error)))?;
    reporter.tell(&Verdict::Started);
    let Some((held, line)) = succeeded else {
        return Ok(());
    };
    await_end(&line)?;
    let kept = take_over(&held);
    Control::close(&held.machine.folder);
    kept
}

/// The machine, and a connection to its keeper; `None` where somebody else is there, or the machine has just ended.
fn succeed(id: &str) -> Result<Option<(Held, Line)>, Error> {
    let all = machines()?;
    let mut machine = all.find(id)?;
    let (line, lock) = match machine.succeed() {
        Ok(Some(succeeded)) => succeeded,
        Ok(None) | Err(machines::Error::NotRunning { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some((all.adopt(id, lock)?, line)))
}

/// Waits until the process at the other end is gone.
fn await_end(line: &Line) -> Result<(), Error> {
    let keeper = match pidfd_open(line.keeper()?, PidfdFlags::empty()) {
        Ok(keeper) => keeper,
        Err(Errno::SRCH) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    loop {
        match poll(
            &mut [PollFd::from_borrowed_fd(keeper.as_fd(), PollFlags::IN)],
            None,
        ) {
            Err(Errno::INTR) => {}
            ended => return Ok(ended.map(drop)?),
        }
    }
}

/// What the keeper of a machine with a policy does after its run.
fn take_over(held: &Held) -> Result<(), Error> {
    let started = held.machine.folder.state()?.started;
    let lasted = Duration::from_nanos(time::now().saturating_sub(started));
    let mut backoff = Backoff::default();
    match goes_on(held, backoff.next(lasted))? {
        true => supervise(held, None, backoff),
        false => Ok(()),
    }
}
