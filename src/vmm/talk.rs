//! The host's end of the talk with init, and with the machine's process.
//!
//! ```text
//!           Built         Hello            Started         Exited            Finished, and both
//! Building ──────▶ Booting ─────▶ SettingUp ──────▶ Running ──────▶ Finishing ──────────▶ done
//!                                                                   output streams at their end
//! ```
//!
//! Everything that happens arrives as an [`Event`] in one queue, and one function decides.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use husk_init::exit::Exit;
use husk_init::frame::{self, Frame, Stream};
use husk_init::job::Job;

use super::error::Error;
use super::relay::Stdio;
use super::uplink::{self, Report};
use crate::spec::Signal;
use crate::sys::seqpacket::Seqpacket;
use crate::timeline::{Phase, Timeline};

/// Connections a guest may open before they are refused: the control channel, three streams, and
/// room for one retry of each.
const MAX_CONNECTIONS: usize = 8;

/// After this long, a second SIGTERM is an order to the machine and not a plea to the workload.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// The machine's process said something.
    Report(Report),
    /// The machine's process is gone.
    Gone,
    /// The control channel is up.
    Control(UnixStream),
    /// Init said something on it.
    Frame(Frame),
    /// Init broke the protocol.
    Broken(String),
    /// A stream has carried its last byte, or failed.
    Closed(Stream, io::Result<()>),
    /// The user sent husk a signal.
    Signal(Signal),
}

/// stdout and stderr.
const OUTPUTS: usize = 2;

/// How long the last bytes of a machine that is gone may take to come out of its streams.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// How far the guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Building,
    Booting,
    SettingUp,
    Running,
    Finishing(Exit),
}

/// What a conversation is about.
#[derive(Debug)]
pub struct Topic {
    /// What init is to do; its clock is set when it is sent.
    pub job: Job,
    /// How long until the workload has started.
    pub boot_deadline: Duration,
    /// How long the workload may run.
    pub timeout: Option<Duration>,
}

/// How a conversation ended.
#[derive(Debug)]
pub struct Ending {
    /// The workload's end.
    pub exit: Exit,
    /// Whether `timeout` killed it.
    pub timed_out: bool,
}

/// One conversation, from the machine's first report to the last.
#[derive(Debug)]
pub struct Talk<'a> {
    topic: Topic,
    timeline: &'a mut Timeline,
    state: State,
    control: Option<UnixStream>,
    open_outputs: usize,
    finished: bool,
    deadline: Option<Instant>,
    first_term: Option<Instant>,
    timed_out: bool,
}

impl<'a> Talk<'a> {
    /// A conversation about `topic`, whose phases `timeline` takes.
    pub fn new(topic: Topic, timeline: &'a mut Timeline) -> Self {
        let deadline = Instant::now().checked_add(topic.boot_deadline);
        Self {
            topic,
            timeline,
            state: State::Building,
            control: None,
            open_outputs: OUTPUTS,
            finished: false,
            deadline,
            first_term: None,
            timed_out: false,
        }
    }

    /// Takes events until the workload has ended, or cannot.
    pub fn hold(mut self, events: &Receiver<Event>) -> Result<Ending, Error> {
        loop {
            let event = match self.deadline {
                Some(deadline) => {
                    events.recv_timeout(deadline.saturating_duration_since(Instant::now()))
                }
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let exit = match event {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => self.expire()?,
                Err(RecvTimeoutError::Disconnected) => self.take(Event::Gone)?,
            };
            if let Some(exit) = exit {
                return Ok(Ending {
                    exit,
                    timed_out: self.timed_out,
                });
            }
        }
    }

    /// One event; `Some` when it was the last.
    fn take(&mut self, event: Event) -> Result<Option<Exit>, Error> {
        match event {
            Event::Report(Report::Built) => self.advance(State::Booting, Phase::Build),
            Event::Report(Report::Failed { text }) => return Err(Error::Machine(text)),
            Event::Report(Report::Stopped { reason }) => return self.ended(reason),
            Event::Gone => return self.ended("its process is gone".to_owned()),
            Event::Report(Report::Connected { .. }) => {}
            Event::Control(control) => self.greet(control)?,
            Event::Closed(stream, result) => return self.close(stream, result),
            Event::Frame(frame) => return self.hear(frame),
            Event::Broken(text) => return Err(Error::Protocol(text)),
            Event::Signal(signal) => return Ok(self.pass_on(signal)),
        }
        Ok(None)
    }

    /// Init is up: give it the job.
    fn greet(&mut self, control: UnixStream) -> Result<(), Error> {
        self.advance(State::SettingUp, Phase::Boot);
        let mut job = self.topic.job.clone();
        job.realtime_ns = realtime_ns();
        let sent = Frame::Job(Box::new(job)).send(&mut &control);
        self.control = Some(control);
        sent.map_err(|error| Error::Protocol(format!("it hung up before its job came ({error})")))
    }

    fn hear(&mut self, frame: Frame) -> Result<Option<Exit>, Error> {
        match (frame, self.state) {
            (Frame::Started { session: 0 }, State::SettingUp) => {
                self.advance(State::Running, Phase::Setup);
                self.deadline = self
                    .topic
                    .timeout
                    .and_then(|t| Instant::now().checked_add(t));
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
                self.deadline = None;
            }
            (Frame::Finished, State::Finishing(_)) => {
                self.finished = true;
                return Ok(self.complete());
            }
            (frame, state) => {
                let text = format!("{frame:?} while {state:?}");
                return Err(Error::Protocol(text.chars().take(200).collect()));
            }
        }
        Ok(None)
    }

    /// The machine ended. After the workload's exit that is early but no loss.
    fn ended(&mut self, reason: String) -> Result<Option<Exit>, Error> {
        match self.state {
            State::Finishing(_) => {
                self.finished = true;
                self.deadline = Instant::now().checked_add(LAST_BYTES);
                Ok(self.complete())
            }
            _ => Err(Error::Vanished {
                reason,
                console: Vec::new(),
            }),
        }
    }

    /// The deadline has passed: too long a boot is an error, too long a workload is killed.
    fn expire(&mut self) -> Result<Option<Exit>, Error> {
        match self.state {
            State::Running => {
                self.timed_out = true;
                self.deadline = None;
                self.send_signal(Signal::KILL);
                Ok(None)
            }
            State::Finishing(exit) => Ok(Some(exit)),
            _ => {
                let deadline = self.topic.boot_deadline;
                Err(Error::Silent {
                    deadline,
                    console: Vec::new(),
                })
            }
        }
    }

    /// A signal for the workload; `Some` when it ends the run here and now, because there is no
    /// workload to give it to, or because the workload did not heed the first one.
    fn pass_on(&mut self, signal: Signal) -> Option<Exit> {
        let fatal = signal == Signal::TERM || (1..=3).contains(&signal.number());
        match self.state {
            State::Running => {
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
        if let Some(mut control) = self.control.as_ref() {
            let frame = Frame::Signal {
                session: 0,
                number: signal.number(),
            };
            // A guest that is gone is reported by its machine.
            let _gone = frame.send(&mut control);
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
        };
        result.map_err(|source| Error::Stream {
            stream: name,
            source,
        })?;
        if stream != Stream::Stdin {
            self.open_outputs = self.open_outputs.saturating_sub(1);
        }
        Ok(self.complete())
    }

    /// The exit, once init has finished and the user's readers have everything.
    fn complete(&mut self) -> Option<Exit> {
        match self.state {
            State::Finishing(exit) if self.finished && self.open_outputs == 0 => {
                self.timeline.end(Phase::Finish);
                Some(exit)
            }
            _ => None,
        }
    }
}

/// Follows the machine's reports and turns them, and every connection of the guest, into events.
/// Ends when the machine's process does.
pub fn follow(uplink: Seqpacket, stdio: Stdio, events: Sender<Event>) -> io::Result<()> {
    let stdio = Arc::new(stdio);
    let mut connections = 0;
    thread::Builder::new()
        .name("uplink".to_owned())
        .spawn(move || {
            while let Ok(Some((report, files))) = uplink::receive::<Report>(&uplink) {
                if let Report::Connected { port: frame::PORT } = report {
                    connections += 1;
                    if connections <= MAX_CONNECTIONS {
                        accept(files, &stdio, &events);
                    }
                } else if events.send(Event::Report(report)).is_err() {
                    return;
                }
            }
            // The talk may be over already.
            let _over = events.send(Event::Gone);
        })?;
    Ok(())
}

/// One connection: its first frame says what it is.
fn accept(files: Vec<OwnedFd>, stdio: &Arc<Stdio>, events: &Sender<Event>) {
    let (stdio, sender) = (Arc::clone(stdio), events.clone());
    let Some(connection) = files.into_iter().next().map(UnixStream::from) else {
        return;
    };
    let spawned = thread::Builder::new()
        .name("channel".to_owned())
        .spawn(move || {
            if let Err(text) = serve(connection, &stdio, &sender) {
                let _over = sender.send(Event::Broken(text));
            }
        });
    if let Err(error) = spawned {
        let _over = events.send(Event::Broken(format!("no thread for it ({error})")));
    }
}

fn serve(mut connection: UnixStream, stdio: &Stdio, events: &Sender<Event>) -> Result<(), String> {
    match Frame::receive(&mut connection) {
        Ok(Some(Frame::Hello)) => {
            let writer = connection.try_clone().map_err(|error| error.to_string())?;
            let _over = events.send(Event::Control(writer));
            listen(connection, events)
        }
        Ok(Some(Frame::Attach { session: 0, stream })) => {
            let _over = events.send(Event::Closed(stream, stdio.carry(stream, connection)));
            Ok(())
        }
        Ok(Some(_)) => Err("a connection began with the wrong frame".to_owned()),
        // Hanging up without a word is no offence; the machine's end is reported by the machine.
        Ok(None) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn listen(mut control: UnixStream, events: &Sender<Event>) -> Result<(), String> {
    loop {
        match Frame::receive(&mut control) {
            Ok(Some(frame)) => {
                if events.send(Event::Frame(frame)).is_err() {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(error.to_string());
            }
            // The guest or its machine is gone: the machine's report says how.
            Err(_) => return Ok(()),
        }
    }
}

fn realtime_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |elapsed| {
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    })
}
