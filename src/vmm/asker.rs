//! What may be asked of a machine that runs, from any thread, and from before it runs: signals and
//! sizes for its sessions, and more sessions beside the workload.
//!
//! What becomes of a session is said as both walls say it ([`crate::sessions`]).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use husk_init::job::{Process, Size};

use super::talk::Event;
use crate::boot::MmioDevice;
use crate::sessions::{Answer, Answers, Refusal, SessionId, Stdio};
use crate::spec::{Signal, name_terminal};

/// A session that is asked for.
#[derive(Debug)]
pub struct Wanted {
    /// Its number.
    pub session: u32,
    /// What runs.
    pub process: Box<Process>,
    /// The user's ends of its streams.
    pub stdio: Stdio,
    /// Who asked.
    pub answers: Answers,
}

/// What is asked of a session that is there.
#[derive(Debug)]
pub enum Wish {
    /// Send its process a signal.
    Signal(Signal),
    /// Give its terminal this size.
    Resize(Size),
    /// Its user is gone.
    Forsake,
}

/// A way to ask something of a conversation, for any thread, from before it begins.
#[derive(Debug, Clone)]
pub struct Asker {
    events: Sender<Event>,
    next: Arc<AtomicU32>,
}

/// Where what is asked arrives: a conversation takes it along.
#[derive(Debug)]
pub struct Asked {
    pub(super) sender: Sender<Event>,
    pub(super) events: Receiver<Event>,
    pub(super) on_start: OnStart,
}

/// What is done when the workload has started.
pub(super) struct OnStart(Box<dyn FnOnce() + Send>);

impl OnStart {
    /// Does it.
    pub(super) fn call(self) {
        (self.0)();
    }
}

impl fmt::Debug for OnStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnStart")
    }
}

/// Both ends of the way into a conversation that is to come, which calls `on_start` once the workload has
/// started.
pub fn prepare(on_start: impl FnOnce() + Send + 'static) -> (Asker, Asked) {
    let (sender, events) = channel();
    let asker = Asker {
        events: sender.clone(),
        next: Arc::new(AtomicU32::new(SessionId::WORKLOAD.0 + 1)),
    };
    let asked = Asked {
        sender,
        events,
        on_start: OnStart(Box::new(on_start)),
    };
    (asker, asked)
}

impl Asker {
    /// A signal for the workload. After the conversation there is nobody to tell.
    pub fn signal(&self, signal: Signal) {
        self.ask(Event::Signal(signal));
    }

    /// Tells `answers` of the workload too: that it started, and how it ended.
    pub fn attend(&self, answers: Sender<Answer>) {
        self.ask(Event::Attend(Answers::to(answers)));
    }

    /// Runs `process` beside the workload, with `stdio` as its streams: of a terminal, stdin is what
    /// is typed (if `process.stdin`) and stdout what is shown. A terminal without a name is an
    /// `xterm`. What becomes of it is said to `answers`.
    pub fn exec(&self, mut process: Process, stdio: Stdio, answers: Sender<Answer>) -> SessionId {
        if process.terminal.is_some() {
            name_terminal(&mut process.env);
        }
        let session = self.next.fetch_add(1, Ordering::SeqCst);
        self.ask(Event::Exec(Wanted {
            session,
            process: Box::new(process),
            stdio,
            answers: Answers::to(answers),
        }));
        SessionId(session)
    }

    /// A signal for a session's process.
    pub fn signal_session(&self, session: SessionId, signal: Signal) {
        match session {
            SessionId::WORKLOAD => self.signal(signal),
            SessionId(session) => self.ask(Event::Wish(session, Wish::Signal(signal))),
        }
    }

    /// Bounds the processes and threads of the workload from now on; `None` for as many as there is room for.
    pub fn bound_tasks(&self, most: Option<u32>) {
        self.ask(Event::BoundTasks(most));
    }

    /// Has the guest take a device that came while it runs.
    pub fn announce(&self, device: MmioDevice) {
        self.ask(Event::Announce(device));
    }

    /// A new size for a session's terminal.
    pub fn resize(&self, session: SessionId, size: Size) {
        self.ask(Event::Wish(session.0, Wish::Resize(size)));
    }

    /// The session's user is gone: nothing more is read or written for it, and its process goes on.
    pub fn forsake(&self, session: SessionId) {
        self.ask(Event::Wish(session.0, Wish::Forsake));
    }

    /// After the conversation nobody hears it, and whoever waits for an answer gets the last one.
    fn ask(&self, event: Event) {
        if let Err(unheard) = self.events.send(event)
            && let Event::Exec(wanted) = unheard.0
        {
            wanted.answers.end(Answer::Refused(Refusal::Over));
        }
    }
}
