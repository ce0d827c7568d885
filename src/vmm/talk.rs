//! The host's end of the talk with init, and with the machine's process.
//!
//! ```text
//!           Built         Hello            Started         Exited            Finished, and both
//! Building ──────▶ Booting ─────▶ SettingUp ──────▶ Running ──────▶ Finishing ──────────▶ done
//!                                                                   output streams at their end
//! ```
//!
//! Everything that happens arrives as an [`Event`] in one queue, and one function decides. It never
//! waits for the guest: every state that only a guest can leave has a deadline, except a workload
//! that runs, for which `--timeout` is one. Sessions beside the workload have a picture and deadlines
//! of their own ([`super::sessions`]).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use husk_init::exit::Exit;
use husk_init::frame::{Frame, Stream};
use husk_init::job::Job;

use super::asker::{OnStart, Wanted, Wish};
use super::channels::{Client, Hall, Orders};
use super::error::Error;
use super::sessions::Sessions;
use super::uplink::Report;
use crate::boot::MmioDevice;
use crate::kvm::Flavour;
use crate::sessions::{Answer, Answers, Refusal, streams_of};
use crate::spec::sentence::printable;
use crate::spec::{Ending, PATIENCE, Signal};
use crate::timeline::{Phase, Timeline};

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// The machine's process said something.
    Report(Report),
    /// The machine's process is gone.
    Gone,
    /// The guest's kernel stopped its CPUs for good.
    Halted,
    /// The control channel is up, and this is its way to init.
    Control(Orders),
    /// Init said something on it.
    Frame(Frame),
    /// Init closed it.
    HungUp,
    /// Init broke the protocol.
    Broken(String),
    /// A stream of a session has carried its last byte, or failed.
    Closed(u32, Stream, io::Result<()>),
    /// The user sent husk a signal.
    Signal(Signal),
    /// Somebody wants to know how the workload does.
    Attend(Answers),
    /// Somebody wants one more session.
    Exec(Wanted),
    /// Somebody bounds the processes of the workload.
    BoundTasks(Option<u32>),
    /// A device came.
    Announce(MmioDevice),
    /// Somebody wants something of a session.
    Wish(u32, Wish),
}

/// How long a guest that has finished, or is gone, may be silent before its last byte has come.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// How long a guest may be silent between its workload's end and its own last word.
const LEFTOVERS: Duration = Duration::from_secs(60);

/// How far the guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Building,
    Booting,
    SettingUp,
    Running,
    Finishing(Exit),
}

/// How a guest was lost; the later one explains more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Loss {
    HungUp,
    Gone,
    Halted,
    Stopped(String),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HungUp => "it hung up",
            Self::Gone => "its process is gone",
            Self::Halted => "it halted",
            Self::Stopped(reason) => reason,
        })
    }
}

/// What a conversation is about.
#[derive(Debug)]
pub struct Topic {
    /// What init is to do; its clock is set when it is sent.
    pub job: Job,
    /// How long until the workload has started; what suits the KVM if nobody said.
    pub boot_deadline: Option<Duration>,
    /// How long the workload may run.
    pub timeout: Option<Duration>,
}

/// One conversation, from the machine's first report to the last.
#[derive(Debug)]
pub struct Talk<'a> {
    topic: Topic,
    timeline: &'a mut Timeline,
    hall: Arc<Hall>,
    /// Who uses the workload's streams.
    client: Arc<Client>,
    /// Who wants to know of the workload.
    attending: Vec<Answers>,
    sessions: Sessions,
    state: State,
    orders: Option<Orders>,
    open_outputs: usize,
    finished: bool,
    /// Why no new word of the guest's will come.
    lost: Option<Loss>,
    /// Whether every word that it said was heard.
    hung_up: bool,
    /// How long until the workload has started.
    boot_deadline: Duration,
    deadline: Option<Instant>,
    first_term: Option<Instant>,
    timed_out: bool,
    exits: BTreeMap<String, u64>,
    on_start: Option<OnStart>,
}

impl<'a> Talk<'a> {
    /// A conversation about `topic` with who is in `hall`, whose phases `timeline` takes; `client` uses
    /// the workload's streams.
    pub fn new(
        topic: Topic,
        (hall, client): (Arc<Hall>, Arc<Client>),
        timeline: &'a mut Timeline,
    ) -> Self {
        let streams = streams_of(&topic.job.process);
        let outputs = streams.iter().filter(|stream| **stream != Stream::Stdin);
        let open_outputs = outputs.count();
        let boot_deadline = topic
            .boot_deadline
            .unwrap_or(default_deadline(Flavour::Software));
        Self {
            topic,
            timeline,
            hall,
            client,
            attending: Vec::new(),
            sessions: Sessions::default(),
            state: State::Building,
            orders: None,
            open_outputs,
            finished: false,
            lost: None,
            hung_up: false,
            boot_deadline,
            deadline: Instant::now().checked_add(boot_deadline),
            first_term: None,
            timed_out: false,
            exits: BTreeMap::new(),
            on_start: None,
        }
    }

    /// The same, and `on_start` is done once the workload has started.
    pub(super) fn telling(self, on_start: OnStart) -> Self {
        Self {
            on_start: Some(on_start),
            ..self
        }
    }

    /// Takes events until the workload has ended, or cannot.
    pub fn hold(mut self, events: &Receiver<Event>) -> Result<Ending, Error> {
        loop {
            let event = self.next(events);
            let exit = match event {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => self.time_out()?,
                Err(RecvTimeoutError::Disconnected) => self.take(Event::Gone)?,
            };
            if let Some(exit) = exit {
                self.attending
                    .drain(..)
                    .for_each(|one| one.end(Answer::Exited(exit)));
                return Ok(Ending {
                    exit,
                    timed_out: self.timed_out,
                    exits: self.exits,
                });
            }
        }
    }

    /// Waits for an event, until the deadline; events that come without end do not move it.
    fn next(&self, events: &Receiver<Event>) -> Result<Event, RecvTimeoutError> {
        let deadlines = self.deadline.into_iter().chain(self.sessions.deadline());
        let Some(deadline) = deadlines.min() else {
            return events.recv().map_err(|_| RecvTimeoutError::Disconnected);
        };
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(RecvTimeoutError::Timeout),
            left => events.recv_timeout(left),
        }
    }

    /// One event; `Some` when it was the last.
    fn take(&mut self, event: Event) -> Result<Option<Exit>, Error> {
        match event {
            Event::Report(Report::Loaded) if self.state == State::Building => {
                self.timeline.end(Phase::Load);
            }
            Event::Report(Report::Created) if self.state == State::Building => {
                self.timeline.end(Phase::Kvm);
            }
            Event::Report(Report::Built { flavour }) if self.state == State::Building => {
                self.advance(State::Booting, Phase::Load);
                if self.topic.boot_deadline.is_none() {
                    self.boot_deadline = default_deadline(flavour);
                    self.wait_for(Some(self.boot_deadline));
                }
            }
            Event::Report(Report::Exits { counts }) => self.exits = counts,
            Event::Report(Report::Admitted { session }) => {
                self.sessions
                    .admit(&self.hall, self.orders.as_ref(), session);
            }
            Event::Report(
                Report::Loaded | Report::Created | Report::Built { .. } | Report::Connected { .. },
            ) => {}
            Event::Report(Report::Failed { text }) => {
                return Err(Error::Machine(printable(text.as_bytes())));
            }
            Event::Report(Report::Stopped { reason }) => {
                return self.lose(Loss::Stopped(printable(reason.as_bytes())));
            }
            Event::Gone => return self.lose(Loss::Gone),
            Event::Halted => return self.lose(Loss::Halted),
            Event::Control(orders) if self.state == State::Booting => self.greet(orders),
            Event::Control(_) => return Err(Error::Protocol("it came too early".to_owned())),
            Event::HungUp => {
                self.hung_up = true;
                return self.lose(Loss::HungUp);
            }
            Event::Closed(0, stream, result) => return self.close(stream, result),
            Event::Closed(session, stream, _) => {
                // What keeps a client of a session from taking bytes is the client's own affair.
                self.sessions.close(&self.hall, session, stream);
                return self.complete();
            }
            Event::Frame(frame) => return self.hear(frame),
            Event::Broken(text) => return Err(Error::Protocol(printable(text.as_bytes()))),
            Event::Signal(signal) => return Ok(self.pass_on(signal)),
            Event::Attend(answers) => self.attend(answers),
            Event::Exec(wanted) => self.exec(wanted),
            Event::BoundTasks(most) => self.order(Frame::Bound { most }),
            Event::Announce(device) => self.order(Frame::Announce {
                device: device.to_string().into_bytes(),
            }),
            Event::Wish(session, wish) => self.wish(session, wish),
        }
        Ok(None)
    }

    /// Init is up: give it the job.
    fn greet(&mut self, orders: Orders) {
        self.advance(State::SettingUp, Phase::Kernel);
        let mut job = self.topic.job.clone();
        job.realtime_ns = realtime_ns();
        let _deaf = orders.send(Frame::Job(Box::new(job)));
        self.orders = Some(orders);
    }

    fn hear(&mut self, frame: Frame) -> Result<Option<Exit>, Error> {
        match (frame, self.state) {
            (Frame::Started { session: 0 }, State::SettingUp) => {
                self.advance(State::Running, Phase::Init);
                self.wait_for(self.topic.timeout);
                if let Some(on_start) = self.on_start.take() {
                    on_start.call();
                }
                self.attending
                    .iter()
                    .for_each(|one| one.give(Answer::Started));
            }
            (
                Frame::Failed {
                    session: 0,
                    failure,
                },
                State::SettingUp,
            ) => {
                return Err(Error::Refused(failure));
            }
            (Frame::Exited { session: 0, exit }, State::Running) => {
                self.advance(State::Finishing(exit), Phase::Workload);
                self.wait_for(Some(LEFTOVERS));
                self.sessions.refuse_the_rest(&self.hall);
            }
            (Frame::Finished, State::Finishing(_)) if !self.finished => {
                self.finished = true;
                self.wait_for(Some(LAST_BYTES));
            }
            (
                frame @ (Frame::Started { session: 1.. }
                | Frame::Failed { session: 1.., .. }
                | Frame::Exited { session: 1.., .. }),
                State::Running | State::Finishing(_),
            ) => {
                let heard = self.sessions.hear(&self.hall, self.orders.as_ref(), frame);
                heard.map_err(Error::Protocol)?;
            }
            (frame, state) => {
                let text = format!("{frame:?} while {state:?}");
                return Err(Error::Protocol(text.chars().take(200).collect()));
            }
        }
        self.complete()
    }

    /// How long the guest may take from here on; one that is lost has its time already.
    fn wait_for(&mut self, limit: Option<Duration>) {
        if self.lost.is_none() {
            self.deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
            // What flowed until now says nothing about what comes.
            let _so_far = self.client.pulse.beats();
        }
    }

    /// No new word will come. Those on their way may: an exit, the last bytes of the streams, the
    /// machine's own report, which says it better.
    fn lose(&mut self, loss: Loss) -> Result<Option<Exit>, Error> {
        self.wait_for(Some(LAST_BYTES));
        self.lost = self.lost.take().max(Some(loss));
        self.complete()
    }

    /// A deadline has passed: of sessions, or of the workload.
    fn time_out(&mut self) -> Result<Option<Exit>, Error> {
        self.sessions.expire(&self.hall);
        match self.deadline {
            Some(deadline) if deadline <= Instant::now() => self.expire(),
            _ => self.complete(),
        }
    }

    /// The deadline has passed: too long a boot is an error, too long a workload is killed.
    fn expire(&mut self) -> Result<Option<Exit>, Error> {
        match (self.state, &self.lost) {
            (State::Finishing(_), _) | (State::Running, Some(_)) if self.client.pulse.beats() => {
                // Bytes still flow, or wait for the user: not yet.
                let limit = if self.is_over() {
                    LAST_BYTES
                } else {
                    LEFTOVERS
                };
                self.deadline = Instant::now().checked_add(limit);
                Ok(None)
            }
            (State::Finishing(exit), _) => Ok(Some(exit)),
            (_, Some(loss)) => Err(vanished(loss)),
            (State::Running, None) if self.timed_out => {
                Ok(Some(Exit::Signal(Signal::KILL.number())))
            }
            (State::Running, None) => {
                self.timed_out = true;
                self.wait_for(Some(PATIENCE));
                self.send_signal(Signal::KILL);
                Ok(None)
            }
            _ => Err(Error::Silent {
                deadline: self.boot_deadline,
                console: Vec::new(),
            }),
        }
    }

    /// Whether the guest has said its last word, or cannot say it any more.
    fn is_over(&self) -> bool {
        self.finished || self.lost.is_some()
    }

    /// A signal for the workload; `Some` when it ends the run here and now, because there is no
    /// workload to give it to, or because the workload did not heed the first one.
    fn pass_on(&mut self, signal: Signal) -> Option<Exit> {
        let fatal = matches!(signal, Signal::TERM | Signal::KILL) || signal.number() <= 3;
        match self.state {
            State::Running if self.lost.is_none() => {
                if signal == Signal::TERM && self.out_of_patience() {
                    return Some(Exit::Signal(signal.number()));
                }
                self.send_signal(signal);
                None
            }
            State::Finishing(exit) => fatal.then_some(exit),
            _ => fatal.then_some(Exit::Signal(signal.number())),
        }
    }

    /// Whether the first SIGTERM is long enough ago; this may be the first.
    fn out_of_patience(&mut self) -> bool {
        self.first_term.get_or_insert_with(Instant::now).elapsed() >= PATIENCE
    }

    fn send_signal(&self, signal: Signal) {
        self.order(Frame::Signal {
            session: 0,
            number: signal.number(),
        });
    }

    fn order(&self, frame: Frame) {
        if let Some(orders) = &self.orders {
            let _missed = orders.send(frame);
        }
    }

    /// Somebody wants to know of the workload, from its start or from now on.
    fn attend(&mut self, answers: Answers) {
        if matches!(self.state, State::Running | State::Finishing(_)) {
            answers.give(Answer::Started);
        }
        self.attending.push(answers);
    }

    fn exec(&mut self, wanted: Wanted) {
        let refusal = match (self.state, &self.lost) {
            (State::Running, None) => return self.sessions.invite(&self.hall, wanted),
            (State::Running | State::Finishing(_), _) => Refusal::Over,
            _ => Refusal::NotRunning,
        };
        wanted.answers.end(Answer::Refused(refusal));
    }

    /// Does what is wished of a session; the workload has its size from before it starts.
    fn wish(&mut self, session: u32, wish: Wish) {
        match (session, wish) {
            (0, Wish::Resize(size)) => match (&self.orders, &mut self.topic.job.process.terminal) {
                (None, Some(first)) => *first = size,
                (Some(_), Some(_)) => self.order(Frame::Resize { session, size }),
                _ => {}
            },
            (0, Wish::Forsake) => self.client.leave(),
            (0, Wish::Signal(signal)) => self.send_signal(signal),
            (_, wish) => self.sessions.obey(self.orders.as_ref(), session, wish),
        }
    }

    fn advance(&mut self, state: State, ended: Phase) {
        self.state = state;
        self.timeline.end(ended);
    }

    /// A stream is at its end.
    fn close(&mut self, stream: Stream, result: io::Result<()>) -> Result<Option<Exit>, Error> {
        let name = match stream {
            Stream::Stdin => "stdin",
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Terminal => "terminal",
        };
        result.map_err(|source| Error::Stream {
            stream: name,
            source,
        })?;
        if stream != Stream::Stdin {
            self.open_outputs = self.open_outputs.saturating_sub(1);
        }
        self.complete()
    }

    /// The end, once there is nothing more to hear and the user's readers have everything.
    fn complete(&mut self) -> Result<Option<Exit>, Error> {
        match (self.state, &self.lost) {
            (State::Finishing(exit), _)
                if self.is_over() && self.open_outputs == 0 && self.sessions.are_quiet() =>
            {
                self.timeline.end(Phase::Teardown);
                Ok(Some(exit))
            }
            (State::Building | State::Booting, Some(loss)) => Err(vanished(loss)),
            (State::SettingUp | State::Running, Some(loss))
                if *loss > Loss::HungUp && self.hung_up && self.open_outputs == 0 =>
            {
                Err(vanished(loss))
            }
            _ => Ok(None),
        }
    }
}

/// How long a guest may take to report when nobody said: a thousand times what one takes on
/// hardware, and on a busy host with a software KVM thirty times.
fn default_deadline(flavour: Flavour) -> Duration {
    match flavour {
        Flavour::Hardware => Duration::from_secs(60),
        Flavour::Software => Duration::from_secs(300),
    }
}

fn vanished(loss: &Loss) -> Error {
    Error::Vanished {
        reason: loss.to_string(),
        console: Vec::new(),
    }
}

fn realtime_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |elapsed| {
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests;
