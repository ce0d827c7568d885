//! The sessions beside the workload, as the host knows them.
//!
//! ```text
//!          the machine admits       Started           Exited           output at its end, or silent
//! Invited ───────────────────▶ Asked ─────▶ Running ─────────▶ Ending ───────▶ answered, gone
//!    └── deadline: Refused       ├── Failed: answered, gone
//!                                └── deadline: Refused ──▶ GivenUp ── Exited, Failed ──▶ gone
//! ```
//!
//! The guest may open a session's connections when the machine was told to admit them, and not
//! before: that is what is waited for first.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use husk_init::exit::Exit;
use husk_init::frame::{Frame, MAX_SESSIONS, Stream};
use husk_init::job::Process;

use super::asker::{Wanted, Wish};
use super::channels::{Client, Hall, Orders};
use crate::sessions::{Answer, Answers, LAST_BYTES, Refusal, streams_of};
use crate::spec::Signal;

/// How long a guest may take to start a command: a busy one on a software KVM, and room.
const ANSWER: Duration = Duration::from_secs(60);

/// Wishes that wait for a session to be asked for; more are lost.
const MOST_WISHES: usize = 16;

/// How far a session is.
#[derive(Debug)]
enum State {
    /// The machine was told to admit its connections; this is for the guest then.
    Invited(Box<Process>, Vec<Frame>),
    Asked,
    Running,
    Ending(Exit),
    GivenUp,
}

#[derive(Debug)]
struct Session {
    state: State,
    client: Arc<Client>,
    answers: Option<Answers>,
    open_outputs: usize,
    deadline: Option<Instant>,
}

/// The sessions.
#[derive(Debug, Default)]
pub struct Sessions(BTreeMap<u32, Session>);

impl Sessions {
    /// One more: the machine is told to admit it.
    pub fn invite(&mut self, hall: &Hall, wanted: Wanted) {
        if let Err((answers, refusal)) = self.try_invite(hall, wanted) {
            answers.end(Answer::Refused(refusal));
        }
    }

    fn try_invite(&mut self, hall: &Hall, wanted: Wanted) -> Result<(), (Answers, Refusal)> {
        // The workload is one, too.
        if self.0.len() + 1 >= MAX_SESSIONS {
            return Err((wanted.answers, Refusal::Full));
        }
        let Wanted {
            session,
            process,
            stdio,
            answers,
        } = wanted;
        let streams = streams_of(&process);
        let open_outputs = streams.iter().filter(|s| **s != Stream::Stdin).count();
        let host = |error: io::Error| Refusal::Host(error.to_string());
        let client = match Client::new(stdio, &process) {
            Ok(client) => Arc::new(client),
            Err(error) => return Err((answers, host(error))),
        };
        if let Err(error) = hall.invite(session, Arc::clone(&client), streams) {
            hall.dismiss(session);
            let refusal = match error.kind() {
                io::ErrorKind::WouldBlock => Refusal::Deaf,
                _ => host(error),
            };
            return Err((answers, refusal));
        }
        let invited = Session {
            state: State::Invited(process, Vec::new()),
            client,
            answers: Some(answers),
            open_outputs,
            deadline: Instant::now().checked_add(ANSWER),
        };
        self.0.insert(session, invited);
        Ok(())
    }

    /// The machine has admitted a session's connections: now the guest is asked.
    pub fn admit(&mut self, hall: &Hall, orders: Option<&Orders>, id: u32) {
        let Some(session) = self.0.get_mut(&id) else {
            return;
        };
        let (process, wishes) = match mem::replace(&mut session.state, State::Asked) {
            State::Invited(process, wishes) => (process, wishes),
            // A machine that says so twice changes nothing.
            other => {
                session.state = other;
                return;
            }
        };
        let exec = Frame::Exec {
            session: id,
            process,
        };
        let mut frames = [exec].into_iter().chain(wishes);
        let heard = orders.is_some_and(|orders| frames.all(|frame| orders.send(frame)));
        if !heard {
            // What it missed may be the order itself: whatever it says of it comes too late.
            session.give_up(hall, id, Refusal::Deaf);
        }
    }

    /// What init says of a session that is not the workload; the error is how it broke the protocol.
    pub fn hear(
        &mut self,
        hall: &Hall,
        orders: Option<&Orders>,
        frame: Frame,
    ) -> Result<(), String> {
        let (Frame::Started { session: id }
        | Frame::Failed { session: id, .. }
        | Frame::Exited { session: id, .. }) = frame
        else {
            return Err(misplaced(&frame, "sessions say how they are"));
        };
        let Some(session) = self.0.get_mut(&id) else {
            return Err(misplaced(&frame, "there is no such session"));
        };
        match (frame, &session.state) {
            (Frame::Started { .. }, State::Asked) => {
                session.state = State::Running;
                session.deadline = None;
                session.answer(Answer::Started);
            }
            (Frame::Started { .. }, State::GivenUp) => {
                // Nobody waits for it any more.
                orders.map(|orders| orders.send(kill(id)));
            }
            (Frame::Failed { failure, .. }, State::Asked) => {
                self.end(hall, id, Answer::Failed(failure));
            }
            (Frame::Exited { exit, .. }, State::Running) => {
                session.state = State::Ending(exit);
                session.deadline = Instant::now().checked_add(LAST_BYTES);
                let _so_far = session.client.pulse.flows();
                self.settle(hall, id);
            }
            (Frame::Failed { .. } | Frame::Exited { .. }, State::GivenUp) => {
                self.0.remove(&id);
            }
            (frame, _) => return Err(misplaced(&frame, "it is not the time")),
        }
        Ok(())
    }

    /// An output of a session is at its end.
    pub fn close(&mut self, hall: &Hall, id: u32, stream: Stream) {
        if let Some(session) = self.0.get_mut(&id)
            && stream != Stream::Stdin
        {
            session.open_outputs = session.open_outputs.saturating_sub(1);
            self.settle(hall, id);
        }
    }

    /// Does what is wished; a session that is over has nothing to do.
    pub fn obey(&mut self, orders: Option<&Orders>, id: u32, wish: Wish) {
        let Some(session) = self.0.get_mut(&id) else {
            return;
        };
        let frame = match wish {
            Wish::Signal(signal) => signal_of(id, signal),
            Wish::Resize(size) => Frame::Resize { session: id, size },
            Wish::Forsake => return session.client.leave(),
        };
        match &mut session.state {
            State::Invited(_, waiting) if waiting.len() < MOST_WISHES => waiting.push(frame),
            State::Asked | State::Running => {
                orders.map(|orders| orders.send(frame));
            }
            _ => {}
        }
    }

    /// The workload has ended, and with it everything: what has not begun never will.
    pub fn refuse_the_rest(&mut self, hall: &Hall) {
        let begun = |session: &Session| matches!(session.state, State::Running | State::Ending(_));
        let rest: Vec<_> = self
            .0
            .iter()
            .filter(|(_, s)| !begun(s))
            .map(|(id, _)| *id)
            .collect();
        for id in rest {
            self.end(hall, id, Answer::Refused(Refusal::Over));
        }
    }

    /// When the next deadline is.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.values().filter_map(|session| session.deadline).min()
    }

    /// Does what is due: an order without an answer is given up, an output that is silent ended.
    pub fn expire(&mut self, hall: &Hall) {
        let now = Instant::now();
        let is_due = |session: &Session| session.deadline.is_some_and(|deadline| deadline <= now);
        let due: Vec<_> = self
            .0
            .iter()
            .filter(|(_, s)| is_due(s))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(session) = self.0.get_mut(&id) else {
                continue;
            };
            match session.state {
                State::Ending(_) if session.client.pulse.flows() => {
                    session.deadline = now.checked_add(LAST_BYTES);
                }
                State::Ending(exit) => self.end(hall, id, Answer::Exited(exit)),
                State::Invited(..) => self.end(hall, id, Answer::Refused(Refusal::Deaf)),
                _ => session.give_up(hall, id, Refusal::Silent(ANSWER)),
            }
        }
    }

    /// Brings every deadline forward to now.
    #[cfg(test)]
    pub fn expire_all(&mut self) {
        let deadlines = self
            .0
            .values_mut()
            .filter_map(|session| session.deadline.as_mut());
        deadlines.for_each(|deadline| *deadline = Instant::now());
    }

    /// Whether no session is between its process's end and its last byte.
    pub fn are_quiet(&self) -> bool {
        let ending = |session: &Session| matches!(session.state, State::Ending(_));
        !self.0.values().any(ending)
    }

    /// Ends a session whose process has ended and whose output has arrived.
    fn settle(&mut self, hall: &Hall, id: u32) {
        if let Some(session) = self.0.get(&id)
            && let State::Ending(exit) = session.state
            && session.open_outputs == 0
        {
            self.end(hall, id, Answer::Exited(exit));
        }
    }

    fn end(&mut self, hall: &Hall, id: u32, answer: Answer) {
        if let Some(mut session) = self.0.remove(&id) {
            session.client.hang_up();
            hall.dismiss(id);
            if let Some(answers) = session.answers.take() {
                answers.end(answer);
            }
        }
    }
}

impl Session {
    fn answer(&self, answer: Answer) {
        if let Some(answers) = &self.answers {
            answers.give(answer);
        }
    }

    /// Keeps its place, for what the guest may say of it yet.
    fn give_up(&mut self, hall: &Hall, id: u32, refusal: Refusal) {
        self.state = State::GivenUp;
        self.deadline = None;
        self.client.leave();
        hall.dismiss(id);
        if let Some(answers) = self.answers.take() {
            answers.end(Answer::Refused(refusal));
        }
    }
}

impl Drop for Session {
    /// The conversation is over: how a process ended is known even where its last bytes are not.
    fn drop(&mut self) {
        self.client.hang_up();
        if let (State::Ending(exit), Some(answers)) = (&self.state, self.answers.take()) {
            answers.end(Answer::Exited(*exit));
        }
    }
}

fn kill(session: u32) -> Frame {
    signal_of(session, Signal::KILL)
}

fn signal_of(session: u32, signal: Signal) -> Frame {
    Frame::Signal {
        session,
        number: signal.number(),
    }
}

fn misplaced(frame: &Frame, why: &str) -> String {
    let text = format!("{frame:?}, but {why}");
    text.chars().take(200).collect()
}
