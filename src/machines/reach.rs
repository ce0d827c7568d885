//! What others do to a machine that somebody keeps: give it a signal, wait for its end, bring the end
//! about.

use std::os::fd::{AsFd, BorrowedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, Signal as KernelSignal, pidfd_open, pidfd_send_signal};

use super::control::{Answer, Line, Reply, Request};
use super::error::{Error, failed};
use super::folder::Lock;
use super::machine::Machine;
use super::state::Status;
use crate::spec::{Exec, Seat, Signal, Update, Wall};
use crate::sys::seqpacket::Seqpacket;

/// How often is looked for a keeper that does not listen yet, or is about to be gone.
const OFTEN: Duration = Duration::from_millis(5);

/// How long a keeper may take to listen: a container's does once the container is made.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a machine may take to die of SIGKILL, before its keeper does.
const AFTER_KILL: Duration = Duration::from_secs(10);

impl Machine {
    /// Gives the workload a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        let number = signal.number();
        let line = self.reach()?;
        match self.ask(&line, &Request::Signal { number }, &[])? {
            Answer::Reply(Reply::Refused { text }) => Err(self.keeper(&text)),
            Answer::Late => Err(self.keeper("does not answer")),
            // Done; or the machine, or the whole keeper, came to an end meanwhile.
            Answer::Reply(_) | Answer::Gone => Ok(()),
        }
    }

    /// Halts everything in the machine, or lets it go on.
    pub fn pause(&mut self, paused: bool) -> Result<(), Error> {
        let name = || self.record.name.clone();
        match (self.state.status, paused) {
            (Status::Paused, true) => return Err(Error::Paused(name())),
            (Status::Running, false) => return Err(Error::NotPaused(name())),
            _ => {}
        }
        let request = match paused {
            true => Request::Pause,
            false => Request::Unpause,
        };
        self.order(&request, &[]).map(drop)
    }

    /// Has its keeper change it; false where nobody keeps it any more.
    pub(super) fn update_kept(&mut self, update: &Update) -> Result<bool, Error> {
        let Some(line) = self.line(Instant::now().checked_add(PATIENCE))? else {
            return match self.kept {
                true => Err(self.keeper("does not listen")),
                false => Ok(false),
            };
        };
        let mut answer = self.ask(&line, &Request::Update(update.clone()), &[])?;
        if answer == Answer::Reply(Reply::Underway) {
            let path = self.folder.path();
            answer = line.wait(None).map_err(failed("reach", path))?;
        }
        match answer {
            Answer::Reply(Reply::Done) => Ok(true),
            Answer::Reply(Reply::Refused { text }) => Err(Error::Unchanged {
                name: self.record.name.clone(),
                why: text,
            }),
            Answer::Late => Err(self.keeper("does not answer")),
            Answer::Reply(_) | Answer::Gone => Ok(false),
        }
    }

    /// Is there, as long as the connection, to start it again after its end; the machine's lock is the caller's too from
    /// then on. `None` where somebody else is there.
    pub fn succeed(&mut self) -> Result<Option<(Line, Lock)>, Error> {
        let path = self.folder.path().to_owned();
        let (ours, theirs) = Seqpacket::pair().map_err(failed("reach", &path))?;
        let line = self.order(&Request::Succeed, &[theirs.as_fd()])?;
        drop(theirs);
        let came = ours.receive().map_err(failed("take over", &path))?;
        let lock = came.and_then(|message| message.files.into_iter().next());
        Ok(lock.map(|lock| (line, lock.into())))
    }

    /// Has `exec` run beside the workload, with `files` as its streams; what becomes of it is said on the
    /// connection.
    pub fn exec(&mut self, exec: Exec, files: &[BorrowedFd<'_>; 3]) -> Result<Line, Error> {
        // husk's own program is no part of a container, and so not of what is halted.
        let is_apart = exec.own && matches!(self.record.request.wall, Wall::Container(_));
        if !is_apart {
            self.is_not_paused()?;
        }
        self.order(&Request::Exec(exec), files)
    }

    /// Has its network reach the other machines on one more network, by `trunk`, a connection to the switch.
    pub fn join(&mut self, seat: Seat, trunk: BorrowedFd<'_>) -> Result<(), Error> {
        self.is_not_paused()?;
        self.order(&Request::Join(Box::new(seat)), &[trunk])
            .map(drop)
    }

    /// Has it reach those of `network` no more.
    pub fn leave(&mut self, network: &str) -> Result<(), Error> {
        self.is_not_paused()?;
        let network = network.to_owned();
        self.order(&Request::Leave { network }, &[]).map(drop)
    }

    /// Has `typed` typed to the workload; the end of the machine is said on the connection.
    pub fn attach(&mut self, typed: BorrowedFd<'_>) -> Result<Line, Error> {
        self.is_not_paused()?;
        self.order(&Request::Attach, &[typed])
    }

    /// Waits until the machine has ended for good, or for `limit`; its exit code.
    pub fn wait(&mut self, limit: Option<Duration>) -> Result<Option<u8>, Error> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut said = None;
        loop {
            let Some(line) = self.line(deadline)? else {
                let code = said.unwrap_or(self.state.exit_code);
                return Ok((!self.kept).then_some(code));
            };
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let path = self.folder.path();
            match line.wait(left).map_err(failed("wait for", path))? {
                Answer::Reply(Reply::Ended { status }) => {
                    // Its files may be gone with it, and in a moment it is gone itself.
                    said = Some(status);
                    line.wait(left).map_err(failed("wait for", path))?;
                }
                Answer::Late => return Ok(None),
                // Gone; or an answer that nobody asked for.
                Answer::Gone | Answer::Reply(_) => {}
            }
        }
    }

    /// Asks the workload to stop, and ends it when it does not within `limit`.
    pub fn stop(&mut self, signal: Signal, limit: Option<Duration>) -> Result<(), Error> {
        if !self.kept {
            return Ok(());
        }
        match self.signal(signal) {
            Ok(()) if self.wait(limit)?.is_some() => return Ok(()),
            Ok(()) | Err(Error::Keeper { .. }) => {}
            Err(Error::NotRunning { .. }) => return Ok(()),
            Err(other) => return Err(other),
        }
        self.end()
    }

    /// Ends the machine, and its keeper where that does not.
    pub fn end(&mut self) -> Result<(), Error> {
        match self.signal(Signal::KILL) {
            Ok(()) if self.wait(Some(AFTER_KILL))?.is_some() => return Ok(()),
            Ok(()) | Err(Error::Keeper { .. }) => {}
            Err(Error::NotRunning { .. }) => return Ok(()),
            Err(other) => return Err(other),
        }
        self.kill_keeper()
    }

    /// Ends the keeper, and with it everything that it keeps.
    fn kill_keeper(&mut self) -> Result<(), Error> {
        let failed = || failed("end the keeper of", self.folder.path());
        let line = Line::connect(&self.folder).map_err(failed())?;
        // A keeper that never listened is known by its number only.
        let by_number = || rustix::process::Pid::from_raw(i32::try_from(self.state.pid).ok()?);
        let pid = match &line {
            Some(line) => Some(line.keeper().map_err(failed())?),
            None => by_number(),
        };
        if let Some(pid) = pid {
            let process = pidfd_open(pid, PidfdFlags::empty());
            // The number is the keeper's only as long as it lives.
            self.refresh()?;
            if let (true, Ok(process)) = (self.kept, process) {
                // It may have died by itself.
                let _dead = pidfd_send_signal(process, KernelSignal::KILL);
            }
        }
        let deadline = Instant::now() + AFTER_KILL;
        while self.kept && Instant::now() < deadline {
            sleep(OFTEN);
            self.refresh()?;
        }
        match self.kept {
            true => Err(self.keeper("does not die")),
            false => Ok(()),
        }
    }

    /// A connection to the keeper; `None` when the machine is not kept any more, or the keeper does not
    /// listen until the deadline.
    fn line(&mut self, deadline: Option<Instant>) -> Result<Option<Line>, Error> {
        loop {
            let path = self.folder.path();
            let line = Line::connect(&self.folder).map_err(failed("connect to", path))?;
            if line.is_some() {
                return Ok(line);
            }
            self.refresh()?;
            if !self.kept || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            sleep(OFTEN);
        }
    }

    /// A connection to the keeper of a machine that runs.
    fn reach(&mut self) -> Result<Line, Error> {
        let line = self.line(Instant::now().checked_add(PATIENCE))?;
        line.ok_or_else(|| match self.kept {
            true => self.keeper("does not listen"),
            false => self.not_running(),
        })
    }

    /// Has the keeper do what only a machine that runs can; the connection on which it is done.
    fn order(&mut self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<Line, Error> {
        let line = self.reach()?;
        match self.ask(&line, request, files)? {
            Answer::Reply(Reply::Done) => Ok(line),
            Answer::Reply(Reply::Refused { text }) => Err(self.keeper(&text)),
            Answer::Late => Err(self.keeper("does not answer")),
            Answer::Reply(_) | Answer::Gone => {
                self.refresh()?;
                Err(self.not_running())
            }
        }
    }

    /// What is said of a machine that would have to run.
    pub fn not_running(&self) -> Error {
        let why = self.state.error.lines().next();
        Error::NotRunning {
            name: self.record.name.clone(),
            why: why.map(|line| line.trim_end_matches(':').to_owned()),
        }
    }

    fn is_not_paused(&self) -> Result<(), Error> {
        match self.state.status {
            Status::Paused => Err(Error::Paused(self.record.name.clone())),
            _ => Ok(()),
        }
    }

    fn ask(
        &self,
        line: &Line,
        request: &Request,
        files: &[BorrowedFd<'_>],
    ) -> Result<Answer, Error> {
        let answer = line.ask(request, files);
        answer.map_err(failed("ask the keeper of", self.folder.path()))
    }

    fn keeper(&self, what: &str) -> Error {
        Error::Keeper {
            name: self.record.name.clone(),
            what: what.to_owned(),
        }
    }
}
