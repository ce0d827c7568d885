//! Commands beside the workload of a container: a thread each waits for its tenant ([`super::tenant`]), and
//! one per stream carries bytes between its pipe, or its terminal, and its user.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use husk_init::exit::Exit;
use husk_init::frame::{Frame, MAX_SESSIONS, Stream};
use husk_init::job::{Limit, Process, Size};
use husk_init::sys::terminal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal as KernelSignal, pidfd_send_signal};

use super::pipe::Pipe;
use super::tenant::{Door, Tenant, Word};
use crate::sessions::{Answer, Answers, Client, LAST_BYTES, Refusal, SessionId, Stdio, streams_of};
use crate::spec::{Signal, name_terminal};
use crate::sys::lock::lock;

/// How long after a process was killed is looked whether the container ends: then that was why.
const AFTER_KILL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How long the end of the container waits for the last bytes of its sessions.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sessions of one container.
#[derive(Debug)]
pub struct Sessions {
    door: Door,
    limits: Vec<Limit>,
    open: Mutex<Open>,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    last: u32,
    sessions: BTreeMap<u32, Arc<Session>>,
    /// Who wants to know how the workload is.
    attending: Vec<Answers>,
    is_over: bool,
}

/// One of them.
#[derive(Debug)]
struct Session {
    client: Client<Pipe>,
    hold: Mutex<Hold>,
}

/// What others do to its process.
#[derive(Debug, Default)]
struct Hold {
    process: Option<OwnedFd>,
    /// Signals from before there was one.
    early: Vec<Signal>,
    terminal: Option<OwnedFd>,
}

impl Sessions {
    /// None yet, of a container that is entered by `door` and whose processes have `limits`.
    pub fn new(door: Door, limits: Vec<Limit>) -> Self {
        Self {
            door,
            limits,
            open: Mutex::default(),
            settled: Condvar::new(),
        }
    }

    /// Tells `answers` of the workload, which has started: that it did, and that it is over.
    pub fn attend(&self, answers: Sender<Answer>) {
        let answers = Answers::to(answers);
        answers.give(Answer::Started);
        lock(&self.open).attending.push(answers);
    }

    /// Runs `process` beside the workload, with `stdio` as its streams: of a terminal, stdin is what
    /// is typed (if `process.stdin`) and stdout what is shown. A terminal without a name is an
    /// `xterm`. What becomes of it is said to `answers`.
    pub fn exec(
        self: &Arc<Self>,
        mut process: Process,
        stdio: Stdio,
        answers: Sender<Answer>,
    ) -> SessionId {
        if process.terminal.is_some() {
            name_terminal(&mut process.env);
        }
        process.limits.clone_from(&self.limits);
        let answers = Answers::to(answers);
        let mut open = lock(&self.open);
        open.last += 1;
        let id = open.last;
        let refusal = match Client::new(stdio, &process) {
            _ if open.is_over => Refusal::Over,
            // The workload is one, too.
            _ if open.sessions.len() + 1 >= MAX_SESSIONS => Refusal::Full,
            Err(error) => Refusal::Host(error.to_string()),
            Ok(client) => {
                let hold = Mutex::default();
                let session = Arc::new(Session { client, hold });
                open.sessions.insert(id, Arc::clone(&session));
                drop(open);
                self.begin(id, session, process, answers);
                return SessionId(id);
            }
        };
        answers.end(Answer::Refused(refusal));
        SessionId(id)
    }

    /// A signal for a session's process, or for the one that it will have.
    pub fn signal(&self, SessionId(id): SessionId, signal: Signal) {
        if let Some(session) = self.session(id) {
            session.signal(signal);
        }
    }

    /// A size for a session's terminal.
    pub fn resize(&self, SessionId(id): SessionId, size: Size) {
        if let Some(session) = self.session(id)
            && let Some(master) = &lock(&session.hold).terminal
        {
            // Every size is taken.
            let _taken = terminal::resize(master, size);
        }
    }

    /// A session's user is gone, and its process goes on.
    pub fn forsake(&self, SessionId(id): SessionId) {
        if let Some(session) = self.session(id) {
            session.client.leave();
        }
    }

    /// The workload has ended, and with it every other process: waits until the sessions have said so.
    pub fn finish(&self) {
        let mut open = lock(&self.open);
        open.is_over = true;
        open.attending.clear();
        let some = |open: &mut Open| !open.sessions.is_empty();
        let waited = self.settled.wait_timeout_while(open, PATIENCE, some);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn session(&self, id: u32) -> Option<Arc<Session>> {
        lock(&self.open).sessions.get(&id).cloned()
    }

    fn begin(self: &Arc<Self>, id: u32, session: Arc<Session>, process: Process, answers: Answers) {
        let sessions = Arc::clone(self);
        let live = thread::Builder::new().name("session".to_owned());
        let live = live.spawn(move || {
            let end = sessions.live(&session, process, &answers);
            session.client.hang_up();
            sessions.forget(id);
            answers.end(end);
            sessions.settled.notify_all();
        });
        if live.is_err() {
            // Its answers are let go of with what would have been done: they end by that.
            self.forget(id);
        }
    }

    fn forget(&self, id: u32) {
        lock(&self.open).sessions.remove(&id);
    }

    /// From the order to the last byte; the last answer.
    fn live(&self, session: &Arc<Session>, process: Process, answers: &Answers) -> Answer {
        let host = |error: io::Error| Answer::Refused(Refusal::Host(error.to_string()));
        let wanted = streams_of(&process);
        let (own, theirs) = match connect(&wanted) {
            Ok(pipes) => pipes,
            Err(error) => return host(error),
        };
        let tenant = match self.door.send_in(process, theirs) {
            Ok(tenant) => tenant,
            Err(error) => return host(error),
        };
        let outputs = match self.wait_for_start(session, &tenant, own) {
            Ok(outputs) => outputs,
            Err(answer) => {
                tenant.bury();
                return answer;
            }
        };
        answers.give(Answer::Started);
        let exit = match tenant.hear() {
            Some((Word::Frame(Frame::Exited { exit, .. }), _)) => Some(exit),
            _ => None,
        };
        tenant.bury();
        outputs.wait_for_last_bytes(session);
        match exit {
            Some(exit) if !self.was_killed_with_all(exit) => Answer::Exited(exit),
            // It never said how, or everybody ended.
            _ => Answer::Lost,
        }
    }

    /// Waits until the command is executed, and has its streams carried.
    fn wait_for_start(
        &self,
        session: &Arc<Session>,
        tenant: &Tenant,
        own: Vec<(Stream, OwnedFd)>,
    ) -> Result<Outputs, Answer> {
        let (word, files) = match tenant.hear() {
            Some(heard) => heard,
            None if self.is_ending(None) => return Err(Answer::Refused(Refusal::Over)),
            None => return Err(Answer::Lost),
        };
        match word {
            Word::Frame(Frame::Started { .. }) => {}
            _ if self.is_ending(None) => return Err(Answer::Refused(Refusal::Over)),
            Word::Frame(Frame::Failed { failure, .. }) => return Err(Answer::Failed(failure)),
            Word::Refused(text) => return Err(Answer::Refused(Refusal::Wall(text))),
            Word::Frame(_) => return Err(Answer::Lost),
        }
        let host = |error: io::Error| Answer::Refused(Refusal::Host(error.to_string()));
        let mut files = files.into_iter();
        let process = files.next().ok_or(Answer::Lost)?;
        let mut own = own;
        if let Some(master) = files.next() {
            lock(&session.hold).terminal = Some(master.try_clone().map_err(host)?);
            own.push((Stream::Terminal, master));
        }
        session.take(process);
        carry(session, own).map_err(|error| {
            session.signal(Signal::KILL);
            host(error)
        })
    }

    /// Whether a process that ended like this was killed because the container ended.
    fn was_killed_with_all(&self, exit: Exit) -> bool {
        exit == Exit::Signal(Signal::KILL.number()) && self.is_ending(Some(&AFTER_KILL))
    }

    /// Whether the container's first process is gone, or is within `limit`.
    fn is_ending(&self, limit: Option<&Timespec>) -> bool {
        let now = Timespec::default();
        let mut entries = [PollFd::new(&self.door.init.pidfd, PollFlags::IN)];
        let seen = poll(&mut entries, Some(limit.unwrap_or(&now)));
        seen.is_ok_and(|count| count > 0)
    }
}

impl Session {
    fn signal(&self, signal: Signal) {
        let mut hold = lock(&self.hold);
        match &hold.process {
            Some(process) => send(process, signal),
            None => hold.early.push(signal),
        }
    }

    fn take(&self, process: OwnedFd) {
        let mut hold = lock(&self.hold);
        for signal in mem::take(&mut hold.early) {
            send(&process, signal);
        }
        hold.process = Some(process);
    }
}

fn send(process: &OwnedFd, signal: Signal) {
    if let Some(known) = KernelSignal::from_named_raw(signal.number().into()) {
        // Dead already: no harm.
        let _dead = pidfd_send_signal(process, known);
    }
}

/// husk's ends of pipes, and the process's own.
type Pipes = (Vec<(Stream, OwnedFd)>, Vec<OwnedFd>);

/// Pipes for the streams that are `wanted`; a terminal is made in the container.
fn connect(wanted: &[Stream]) -> io::Result<Pipes> {
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    if wanted.contains(&Stream::Terminal) {
        return Ok((own, theirs));
    }
    if !wanted.contains(&Stream::Stdin) {
        theirs.push(File::open("/dev/null")?.into());
    }
    for stream in wanted {
        let (reader, writer) = io::pipe()?;
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        let (end, other) = match stream {
            Stream::Stdin => (writer, reader),
            _ => (reader, writer),
        };
        own.push((*stream, end));
        theirs.push(other);
    }
    Ok((own, theirs))
}

/// The outputs of a session that are not at their end.
struct Outputs(Receiver<()>);

/// Carries each stream on a thread of its own.
fn carry(session: &Arc<Session>, own: Vec<(Stream, OwnedFd)>) -> io::Result<Outputs> {
    let (open, outputs) = channel::<()>();
    for (stream, end) in own {
        let pipe = Pipe::of(end)?;
        let session = Arc::clone(session);
        let open = (stream != Stream::Stdin).then(|| open.clone());
        let thread = thread::Builder::new().name("stream".to_owned());
        thread.spawn(move || {
            // What its user's side does not take or give is lost, and the process goes on.
            let _lost = session.client.carry(stream, pipe);
            drop(open);
        })?;
    }
    Ok(Outputs(outputs))
}

impl Outputs {
    /// Waits until they are at their end, or silent.
    fn wait_for_last_bytes(&self, session: &Session) {
        let _so_far = session.client.pulse.flows();
        while let Err(RecvTimeoutError::Timeout) = self.0.recv_timeout(LAST_BYTES) {
            if !session.client.pulse.flows() {
                return;
            }
        }
    }
}
