//! All sessions of the machine, in one loop: the workload, and what the host runs beside it.
//!
//! ```text
//!  poll ─┬─ a child died ────▶ buried; a session's: Exited     the workload's ends the loop
//!        ├─ a frame came ────▶ Exec, Signal, Resize, Bound, Announce
//!        └─ a stream flows ──▶ a turn of its relay
//! ```

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use husk_init::exit::{Exit, Failure, Stage};
use husk_init::frame::{Frame, MAX_SESSIONS};
use husk_init::job::Process;

use crate::control::{Control, Stop};
use crate::halt;
use crate::reap::{Tell, bury_the_dead, end_leftovers};
use crate::session::{Session, WORKLOAD};
use crate::waiting::Waiting;
use crate::{devices, tasks};
use husk_init::failure::{At, refused};
use husk_init::sys::wait::{self, entry, poll};

/// The sessions.
#[derive(Debug)]
pub struct Sessions {
    /// Readable when a child has died.
    deaths: OwnedFd,
    /// What the workload writes to the root.
    upper: OwnedFd,
    open: Vec<Session>,
    /// Commands that begin when nobody halts the machine any more.
    waiting: VecDeque<Waiting>,
    /// What poll looks at: deaths, the control channel, and a pair for each stream.
    entries: Vec<libc::pollfd>,
}

const DEATHS: usize = 0;
const CONTROL: usize = 1;
const STREAMS: usize = 2;

/// What there is to do besides streams.
struct Ready {
    deaths: bool,
    control: bool,
}

impl Sessions {
    /// None yet. Deaths are read from a descriptor from now on.
    pub fn begin(upper: OwnedFd) -> Result<Self, Failure> {
        Ok(Self {
            upper,
            deaths: hold_deaths().at(Stage::Fork, b"SIGCHLD")?,
            open: Vec::new(),
            waiting: VecDeque::new(),
            entries: Vec::new(),
        })
    }

    /// Starts one more.
    pub fn start(&mut self, id: u32, wanted: &Process) -> Result<(), Failure> {
        if self.open.len() >= MAX_SESSIONS {
            let most = format!("{MAX_SESSIONS} run already");
            return Err(refused(Stage::Sessions, most.as_bytes()));
        }
        self.open.push(Session::start(id, wanted, &self.upper)?);
        Ok(())
    }

    /// Carries streams and obeys the host until the workload ends.
    pub fn follow(&mut self, control: &mut Control) -> Result<Exit, Stop> {
        loop {
            let ready = self.wait(control)?;
            if ready.deaths {
                wait::take_signal(&self.deaths);
                if let Some(exit) = self.bury(bury_the_dead, control)? {
                    return Ok(exit);
                }
                if !self.waiting.is_empty() {
                    self.begin_waiting(control)?;
                }
            }
            if ready.control {
                self.obey(control)?;
            }
        }
    }

    /// Ends every process that is left, and reports those of other sessions.
    pub fn end(&mut self, control: &Control) -> Result<(), Stop> {
        self.bury(end_leftovers, control).map(drop)
    }

    /// Carries what the outputs still hold. Nobody writes any more, so each of them ends.
    pub fn drain(&mut self, control: &mut Control) -> Result<(), Stop> {
        self.open.retain(|session| !session.is_over());
        while !self.open.is_empty() {
            let ready = self.wait(control)?;
            if ready.deaths {
                // Of those who are buried already: still to be read, it would wake poll for ever.
                wait::take_signal(&self.deaths);
            }
            if ready.control {
                // Nobody is left to get what comes now.
                control.receive()?;
            }
        }
        Ok(())
    }

    /// Buries those whom `reap` finds dead; how the workload ended, if it is among them. The others
    /// are reported here.
    fn bury(
        &mut self,
        reap: impl FnOnce(Tell<'_>),
        control: &Control,
    ) -> Result<Option<Exit>, Stop> {
        let mut workload = None;
        let mut told = Ok(());
        reap(&mut |pid, exit| {
            let Some(session) = self
                .open
                .iter_mut()
                .find_map(|s| s.bury(pid).then_some(&*s))
            else {
                return;
            };
            if session.halts && matches!(exit, Exit::Signal(_)) {
                halt::let_go();
            }
            let session = session.id;
            if session == WORKLOAD {
                workload = Some(exit);
            } else if told.is_ok() {
                told = control.send(&Frame::Exited { session, exit });
            }
        });
        self.open.retain(|session| !session.is_over());
        told.map(|()| workload)
    }

    /// Waits for something to happen, and lets the streams flow.
    fn wait(&mut self, control: &Control) -> Result<Ready, Stop> {
        self.entries.clear();
        self.entries.push(entry(&self.deaths, libc::POLLIN));
        self.entries.push(entry(control.channel(), libc::POLLIN));
        for session in &self.open {
            session.streams.entries(&mut self.entries);
        }
        let timeout = if control.is_ahead() { 0 } else { -1 };
        poll(&mut self.entries, timeout).map_err(|_| Stop::HostGone)?;
        let mut pairs = self.entries[STREAMS..].chunks_exact(2);
        self.open.retain_mut(|session| {
            session.streams.turn(&mut pairs);
            !session.is_over()
        });
        Ok(Ready {
            deaths: self.entries[DEATHS].revents != 0,
            control: self.entries[CONTROL].revents != 0 || control.is_ahead(),
        })
    }

    fn obey(&mut self, control: &mut Control) -> Result<(), Stop> {
        match control.receive()? {
            Frame::Exec { session, process } => match self.stands_still() {
                true => self.waiting.push_back(Waiting::new(session, process)),
                false => self.exec(session, &process, control)?,
            },
            Frame::Signal { session, number } => {
                let waiting = self.awaited(session);
                waiting.for_each(|waiting| waiting.signals.push(number));
                self.named(session)
                    .for_each(|session| session.signal(number));
            }
            Frame::Resize { session, size } => {
                self.awaited(session)
                    .for_each(|waiting| waiting.resize(size));
                self.named(session).for_each(|session| session.resize(size));
            }
            // A kernel that does not take it keeps what it has.
            Frame::Bound { most } => drop(tasks::bound_again(most)),
            // Whoever announced it sees whether its driver comes.
            Frame::Announce { device } => drop(devices::take(&device)),
            _ => {
                let words = b"sessions take commands, signals, sizes, bounds and devices only";
                return Err(refused(Stage::Protocol, words).into());
            }
        }
        Ok(())
    }

    /// Begins a command, and says so.
    fn exec(&mut self, session: u32, process: &Process, control: &Control) -> Result<(), Stop> {
        let answer = match self.start(session, process) {
            Ok(()) => Frame::Started { session },
            Err(failure) => Frame::Failed { session, failure },
        };
        control.send(&answer)
    }

    /// Whether everybody stands still for one of the sessions.
    fn stands_still(&self) -> bool {
        self.open.iter().any(Session::is_halting)
    }

    /// Begins what waited, as far as nobody halts the machine again.
    #[cold]
    fn begin_waiting(&mut self, control: &Control) -> Result<(), Stop> {
        while !self.stands_still()
            && let Some(next) = self.waiting.pop_front()
        {
            self.exec(next.session, &next.process, control)?;
            for number in next.signals {
                self.named(next.session).for_each(|it| it.signal(number));
            }
        }
        Ok(())
    }

    /// The command that waits for this number.
    fn awaited(&mut self, id: u32) -> impl Iterator<Item = &mut Waiting> {
        let waiting = self.waiting.iter_mut();
        waiting.filter(move |waiting| waiting.session == id)
    }

    /// The session of this number: nobody, where it is over and the host does not know yet.
    fn named(&self, id: u32) -> impl Iterator<Item = &Session> {
        self.open.iter().filter(move |session| session.id == id)
    }
}

/// Deaths are read from a descriptor, so they are held back as signals.
fn hold_deaths() -> husk_init::sys::Result<OwnedFd> {
    let set = wait::set_of(&[libc::SIGCHLD]);
    wait::block(&set)?;
    wait::signalfd(&set)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::Duration;

    use husk_init::job::Size;
    use husk_init::sys::file;
    use husk_init::sys::process::kill;

    use super::*;
    use crate::alone::alone;
    use crate::reap::exit_of;
    use crate::relay::Relay;
    use crate::stream::Streams;
    use crate::terminal::Terminal;

    /// A shell beside the loop, and the host's ends of its streams.
    struct Shell {
        session: Session,
        stdin: UnixStream,
        stdout: UnixStream,
    }

    fn pair() -> (OwnedFd, UnixStream) {
        let (guest, host) = UnixStream::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        (guest.into(), host)
    }

    #[expect(clippy::zombie_processes, reason = "the loop under test buries it")]
    fn with_pipes(id: u32, script: &str) -> Shell {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stderr(Stdio::null());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ((input, stdin), (output, stdout)) = (pair(), pair());
        let input = Relay::new(input, child.stdin.take().unwrap().into());
        let output = Relay::new(child.stdout.take().unwrap().into(), output);
        let streams = Streams::Pipes([Some(input), Some(output), None]);
        let pid = child.id().try_into().unwrap();
        let session = Session::adopt(id, pid, streams);
        Shell {
            session,
            stdin,
            stdout,
        }
    }

    fn with_terminal(id: u32, script: &str) -> Shell {
        let (connection, host) = pair();
        let terminal = Terminal::open(connection, Size::default()).unwrap();
        let [stdin, stdout, stderr] = terminal.ends().unwrap();
        let mut command = Command::new("env");
        command.args(["--default-signal", "setsid", "--ctty", "sh", "-c", script]);
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let pid = command.spawn().unwrap().id().try_into().unwrap();
        Shell {
            session: Session::adopt(id, pid, Streams::Terminal(Some(terminal))),
            stdin: host.try_clone().unwrap(),
            stdout: host,
        }
    }

    fn line(from: &mut UnixStream) -> String {
        let mut line = String::new();
        let mut byte = [0];
        while !line.ends_with('\n') && from.read(&mut byte).unwrap() == 1 {
            line.push(byte[0].into());
        }
        line.trim_end().to_owned()
    }

    /// Signals cannot be held back in the other threads of a test, so deaths are looked for now and then.
    fn of(open: Vec<Session>) -> Sessions {
        let (deaths, ticks) = file::pipe().unwrap();
        thread::spawn(move || {
            while file::write(&ticks, &[0]).is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        });
        Sessions {
            upper: file::open(c"/", libc::O_PATH, 0).unwrap(),
            deaths,
            open,
            waiting: VecDeque::new(),
            entries: Vec::new(),
        }
    }

    /// Runs the loop of `shells`, whose host does what `host` says; how the workload ended.
    fn run(shells: Vec<Session>, host: impl FnOnce(UnixStream) + Send + 'static) -> Exit {
        let (guest, ours) = UnixStream::pair().unwrap();
        let mut control = Control::over(guest.into());
        let mut sessions = of(shells);
        let host = thread::spawn(move || host(ours));
        let exit = sessions.follow(&mut control).unwrap();
        let exited = Frame::Exited {
            session: WORKLOAD,
            exit,
        };
        control.send(&exited).unwrap();
        sessions.bury(bury_until_nobody_is_left, &control).unwrap();
        sessions.drain(&mut control).unwrap();
        assert!(sessions.open.is_empty());
        drop(control);
        host.join().unwrap();
        exit
    }

    /// As in the guest, but the tests' machine has processes that are not ours to kill.
    fn bury_until_nobody_is_left(tell: Tell<'_>) {
        // Those of this thread: the other ones have none.
        let children = fs::read_to_string("/proc/thread-self/children").unwrap();
        for pid in children.split_whitespace() {
            kill(pid.parse().unwrap(), libc::SIGKILL).unwrap();
        }
        while let Ok((pid, status)) = wait::next_child() {
            tell(pid, exit_of(status));
        }
    }

    #[test]
    fn sessions_run_beside_each_other_and_end_with_the_workload() {
        if !alone("sessions::tests::sessions_run_beside_each_other_and_end_with_the_workload") {
            return;
        }
        let mut workload = with_pipes(WORKLOAD, "read a; echo work $a; read b; exit 4");
        let mut short = with_pipes(1, "read a; echo short $a; exit 7");
        let mut signalled = with_terminal(2, "echo ready; sleep 1000");
        let mut killed = with_terminal(3, "trap '' INT TERM HUP; echo ready; read a; exit 9");
        let shells = vec![
            workload.session,
            short.session,
            signalled.session,
            killed.session,
        ];
        let exit = run(shells, move |mut control| {
            let mut next = || Frame::receive(&mut control).unwrap();
            let exited = |session, exit| Some(Frame::Exited { session, exit });
            short.stdin.write_all(b"one\n").unwrap();
            assert_eq!(line(&mut short.stdout), "short one");
            assert_eq!(next(), exited(1, Exit::Code(7)));
            assert_eq!(line(&mut signalled.stdout), "ready");
            let frames = [
                // For somebody who is gone already: nobody's loss.
                Frame::Signal {
                    session: 1,
                    number: 9,
                },
                Frame::Signal {
                    session: 2,
                    number: 15,
                },
            ];
            let mut writer = control.try_clone().unwrap();
            frames
                .iter()
                .for_each(|frame| frame.send(&mut writer).unwrap());
            let mut next = || Frame::receive(&mut control).unwrap();
            assert_eq!(next(), exited(2, Exit::Signal(15)));
            assert_eq!(line(&mut killed.stdout), "ready");
            workload.stdin.write_all(b"two\nthree\n").unwrap();
            assert_eq!(line(&mut workload.stdout), "work two");
            assert_eq!(next(), exited(WORKLOAD, Exit::Code(4)));
            assert_eq!(next(), exited(3, Exit::Signal(9)));
            assert_eq!(line(&mut killed.stdout), "", "the terminal has hung up");
        });
        assert_eq!(exit, Exit::Code(4));
    }

    #[test]
    fn what_a_dead_session_left_in_its_pipe_arrives() {
        if !alone("sessions::tests::what_a_dead_session_left_in_its_pipe_arrives") {
            return;
        }
        let mut workload = with_pipes(WORKLOAD, "read a");
        let mut full = with_pipes(1, "head -c 300000 /dev/zero");
        let exit = run(vec![workload.session, full.session], move |mut control| {
            let mut bytes = Vec::new();
            full.stdout.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len(), 300_000);
            let exit = Exit::Code(0);
            let exited = Frame::Exited { session: 1, exit };
            assert_eq!(Frame::receive(&mut control).unwrap(), Some(exited));
            workload.stdin.write_all(b"go\n").unwrap();
            assert!(Frame::receive(&mut control).unwrap().is_some());
        });
        assert_eq!(exit, Exit::Code(0));
    }

    #[test]
    fn a_command_waits_for_the_end_of_who_halts_the_machine() {
        if !alone("sessions::tests::a_command_waits_for_the_end_of_who_halts_the_machine") {
            return;
        }
        let mut workload = with_pipes(WORKLOAD, "read a");
        let mut archiver = with_pipes(1, "read a");
        archiver.session.halts = true;
        let shells = vec![workload.session, archiver.session];
        run(shells, move |mut control| {
            let process = Box::default();
            let exec = Frame::Exec {
                session: 2,
                process,
            };
            exec.send(&mut control.try_clone().unwrap()).unwrap();
            archiver.stdin.write_all(b"end\n").unwrap();
            let mut next = || Frame::receive(&mut control).unwrap().unwrap();
            let exit = Exit::Code(0);
            assert_eq!(next(), Frame::Exited { session: 1, exit });
            // Here is no host that takes its streams.
            assert!(matches!(next(), Frame::Failed { session: 2, .. }));
            workload.stdin.write_all(b"end\n").unwrap();
            assert!(matches!(next(), Frame::Exited { session: 0, .. }));
        });
    }

    #[test]
    fn one_session_too_many_is_refused_and_the_others_go_on() {
        let idle = |id| Session::adopt(id, 1, Streams::Terminal(None));
        let mut sessions = of((0..64).map(idle).collect());
        let (guest, mut host) = UnixStream::pair().unwrap();
        let process = Box::default();
        let exec = Frame::Exec {
            session: 64,
            process,
        };
        exec.send(&mut host).unwrap();
        sessions.obey(&mut Control::over(guest.into())).unwrap();
        let answer = Frame::receive(&mut host).unwrap();
        let Some(Frame::Failed {
            session: 64,
            failure,
        }) = answer
        else {
            panic!("{answer:?}");
        };
        assert_eq!(
            (failure.stage, failure.detail),
            (Stage::Sessions, b"64 run already".to_vec())
        );
    }
}
