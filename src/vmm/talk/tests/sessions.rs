//! Sessions beside the workload, with guests that do what they should, and what they should not.

use std::sync::mpsc::{Receiver, Sender};

use husk_init::frame::MAX_SESSIONS;
use husk_init::job::Size;

use super::super::super::asker::{Asked, Asker, prepare};
use super::super::super::channels::tests_orders;
use super::*;
use crate::sessions::SessionId;

/// A talk whose workload runs, what is asked of it, and what the guest is told.
struct Running<'a> {
    talk: Talk<'a>,
    asker: Asker,
    asked: Asked,
    told: Receiver<Frame>,
}

fn running(timeline: &mut Timeline) -> Running<'_> {
    let (orders, told) = tests_orders(10);
    let (asker, asked) = prepare(|| ());
    let mut talk = talk(timeline);
    let until_running = vec![
        built(),
        Event::Control(orders),
        Event::Frame(Frame::Started { session: 0 }),
    ];
    go_on(&mut talk, until_running);
    assert!(matches!(told.recv(), Ok(Frame::Job(_))));
    Running {
        talk,
        asker,
        asked,
        told,
    }
}

impl Running<'_> {
    fn exec(&mut self, process: Process) -> (SessionId, Receiver<Answer>) {
        let (sender, answers) = channel();
        let session = self.asker.exec(process, nobodys(), sender);
        self.take_asked();
        (session, answers)
    }

    fn take_asked(&mut self) {
        while let Ok(event) = self.asked.events.try_recv() {
            go_on(&mut self.talk, vec![event]);
        }
    }

    /// A session that was admitted and has started.
    fn started(&mut self) -> (u32, Receiver<Answer>) {
        let (SessionId(session), answers) = self.exec(Process::default());
        let started = Frame::Started { session };
        go_on(
            &mut self.talk,
            vec![admitted(session), Event::Frame(started)],
        );
        assert!(matches!(self.told.recv(), Ok(Frame::Exec { .. })));
        assert!(matches!(answers.recv(), Ok(Answer::Started)));
        (session, answers)
    }
}

fn admitted(session: u32) -> Event {
    Event::Report(Report::Admitted { session })
}

fn ended(session: u32, exit: Exit) -> Event {
    Event::Frame(Frame::Exited { session, exit })
}

fn closed_of(session: u32, stream: Stream) -> Event {
    Event::Closed(session, stream, Ok(()))
}

fn refusal(answers: &Receiver<Answer>) -> Refusal {
    match answers.recv() {
        Ok(Answer::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn is_over(answers: &Receiver<Answer>) -> bool {
    answers.recv().is_err()
}

#[test]
fn a_session_is_asked_for_when_it_is_admitted_and_answers_to_its_end() {
    let mut timeline = Timeline::start();
    let mut running = running(&mut timeline);
    let process = Process {
        argv: vec![b"vi".to_vec()],
        terminal: Some(Size::default()),
        ..Process::default()
    };
    let (id, answers) = running.exec(process);
    let size = Size {
        rows: 3,
        columns: 4,
    };
    running.asker.resize(id, size);
    running.take_asked();
    assert!(
        running.told.try_recv().is_err(),
        "not before it is admitted"
    );
    let SessionId(session) = id;
    go_on(&mut running.talk, vec![admitted(session)]);
    let Ok(Frame::Exec { process, .. }) = running.told.recv() else {
        panic!("it is asked for");
    };
    assert_eq!(process.env, [b"TERM=xterm".to_vec()]);
    assert_eq!(running.told.recv(), Ok(Frame::Resize { session, size }));
    go_on(
        &mut running.talk,
        vec![Event::Frame(Frame::Started { session })],
    );
    running.asker.signal_session(id, Signal::TERM);
    running.take_asked();
    assert_eq!(
        running.told.recv(),
        Ok(Frame::Signal {
            session,
            number: 15
        })
    );
    go_on(&mut running.talk, vec![ended(session, Exit::Signal(15))]);
    assert!(matches!(answers.recv(), Ok(Answer::Started)));
    assert!(
        answers.try_recv().is_err(),
        "its last bytes are on their way"
    );
    go_on(
        &mut running.talk,
        vec![closed_of(session, Stream::Terminal)],
    );
    assert!(matches!(
        answers.recv(),
        Ok(Answer::Exited(Exit::Signal(15)))
    ));
    assert!(is_over(&answers));
}

#[test]
fn a_command_that_fails_is_no_end_of_the_machine() {
    let mut timeline = Timeline::start();
    let mut running = running(&mut timeline);
    let (SessionId(session), answers) = running.exec(Process::default());
    let failure = Failure {
        stage: Stage::Exec,
        errno: libc::ENOENT,
        detail: b"nope".to_vec(),
    };
    let failed = Frame::Failed { session, failure };
    go_on(
        &mut running.talk,
        vec![admitted(session), Event::Frame(failed)],
    );
    let Ok(Answer::Failed(failure)) = answers.recv() else {
        panic!("it failed");
    };
    assert_eq!(failure.status(), 127);
    assert!(is_over(&answers));
    assert_eq!(running.talk.state, State::Running);
}

#[test]
fn a_session_that_comes_too_early_or_too_late_is_refused() {
    let mut timeline = Timeline::start();
    let mut early = talk(&mut timeline);
    let (asker, asked) = prepare(|| ());
    let (sender, answers) = channel();
    asker.exec(Process::default(), nobodys(), sender.clone());
    go_on(&mut early, vec![asked.events.recv().unwrap()]);
    assert_eq!(refusal(&answers), Refusal::NotRunning);
    go_on(&mut early, until_running());
    go_on(&mut early, vec![exited(0)]);
    asker.exec(Process::default(), nobodys(), sender.clone());
    go_on(&mut early, vec![asked.events.recv().unwrap()]);
    assert_eq!(refusal(&answers), Refusal::Over);
    drop(asked);
    asker.exec(Process::default(), nobodys(), sender);
    assert_eq!(refusal(&answers), Refusal::Over);
    assert!(is_over(&answers));
}

#[test]
fn one_too_many_is_refused_and_a_place_that_is_free_is_taken() {
    let mut timeline = Timeline::start();
    let mut running = running(&mut timeline);
    let mut answers: Vec<_> = (1..MAX_SESSIONS)
        .map(|_| running.exec(Process::default()))
        .collect();
    let (_, refused) = running.exec(Process::default());
    assert_eq!(refusal(&refused), Refusal::Full);
    let (SessionId(session), gone) = answers.pop().unwrap();
    let failure = Failure {
        stage: Stage::User,
        errno: 0,
        detail: Vec::new(),
    };
    let failed = Frame::Failed { session, failure };
    go_on(
        &mut running.talk,
        vec![admitted(session), Event::Frame(failed)],
    );
    assert!(matches!(gone.recv(), Ok(Answer::Failed(_))));
    let (_, taken) = running.exec(Process::default());
    assert!(taken.try_recv().is_err(), "it waits for its turn");
}

#[test]
fn a_guest_that_never_answers_is_given_up_and_may_answer_late() {
    let mut timeline = Timeline::start();
    let mut running = running(&mut timeline);
    let (SessionId(asked), silent) = running.exec(Process::default());
    let (_, unadmitted) = running.exec(Process::default());
    go_on(&mut running.talk, vec![admitted(asked)]);
    assert!(running.talk.sessions.deadline().is_some());
    running.talk.sessions.expire_all();
    assert_eq!(running.talk.time_out().unwrap(), None);
    assert!(matches!(refusal(&silent), Refusal::Silent(_)));
    assert_eq!(refusal(&unadmitted), Refusal::Deaf);
    assert!(matches!(running.told.recv(), Ok(Frame::Exec { .. })));
    let started = Frame::Started { session: asked };
    go_on(&mut running.talk, vec![Event::Frame(started)]);
    let kill = Frame::Signal {
        session: asked,
        number: 9,
    };
    assert_eq!(running.told.recv(), Ok(kill));
    go_on(&mut running.talk, vec![ended(asked, Exit::Signal(9))]);
    assert!(running.talk.sessions.deadline().is_none());
}

#[test]
fn a_guest_that_does_not_read_its_orders_refuses_loudly() {
    let mut timeline = Timeline::start();
    let mut running = running(&mut timeline);
    let sessions: Vec<_> = (0..11).map(|_| running.exec(Process::default())).collect();
    for (SessionId(session), _) in &sessions {
        go_on(&mut running.talk, vec![admitted(*session)]);
    }
    let (_, last) = sessions.last().unwrap();
    assert_eq!(refusal(last), Refusal::Deaf);
}

#[test]
fn an_output_that_others_hold_open_is_not_waited_for() {
    let mut timeline = Timeline::start();
    let mut running = running(&mut timeline);
    let (session, answers) = running.started();
    go_on(&mut running.talk, vec![ended(session, Exit::Code(3))]);
    running.talk.sessions.expire_all();
    assert_eq!(running.talk.time_out().unwrap(), None);
    assert!(matches!(answers.recv(), Ok(Answer::Exited(Exit::Code(3)))));
}

#[test]
fn sessions_end_with_the_workload_and_their_last_bytes_arrive() {
    let mut timeline = Timeline::start();
    let mut running = running(&mut timeline);
    let (session, answers) = running.started();
    let (_, pending) = running.exec(Process::default());
    let finished = vec![
        exited(0),
        ended(session, Exit::Signal(9)),
        closed(Stream::Stdout),
        closed(Stream::Stderr),
        Event::Frame(Frame::Finished),
        closed_of(session, Stream::Stdout),
    ];
    go_on(&mut running.talk, finished);
    assert_eq!(refusal(&pending), Refusal::Over);
    let last = running.talk.take(closed_of(session, Stream::Stderr));
    assert_eq!(last.unwrap(), Some(Exit::Code(0)));
    assert!(matches!(
        answers.recv(),
        Ok(Answer::Exited(Exit::Signal(9)))
    ));
}

#[test]
fn a_lost_machine_is_told_to_every_session() {
    let mut timeline = Timeline::start();
    let mut running = running(&mut timeline);
    let (session, ending) = running.started();
    let (_, lost) = running.started();
    go_on(&mut running.talk, vec![ended(session, Exit::Code(0))]);
    drop(running);
    assert!(matches!(ending.recv(), Ok(Answer::Exited(Exit::Code(0)))));
    assert!(matches!(lost.recv(), Ok(Answer::Lost)));
    assert!(is_over(&lost));
}

#[test]
fn frames_of_sessions_that_are_not_there_break_the_protocol() {
    let frames: [fn(u32) -> Frame; 3] = [
        |session| Frame::Started { session },
        |session| Frame::Exited {
            session,
            exit: Exit::Code(0),
        },
        |session| Frame::Failed {
            session,
            failure: Failure {
                stage: Stage::Exec,
                errno: 2,
                detail: Vec::new(),
            },
        },
    ];
    for frame in frames {
        let mut timeline = Timeline::start();
        let mut running = running(&mut timeline);
        // Not before it was asked for, and nobody at all.
        let (SessionId(session), _answers) = running.exec(Process::default());
        for number in [session, 77] {
            let answer = running.talk.take(Event::Frame(frame(number)));
            assert!(matches!(answer, Err(Error::Protocol(_))), "{answer:?}");
        }
    }
}

#[test]
fn who_attends_hears_of_the_workload_from_whenever() {
    let mut timeline = Timeline::start();
    let (asker, asked) = prepare(|| ());
    let attend = || {
        let (sender, answers): (Sender<_>, _) = channel();
        asker.attend(sender);
        answers
    };
    let before = attend();
    until_running()
        .into_iter()
        .for_each(|event| asked.sender.send(event).unwrap());
    let after = attend();
    let ended = [
        exited(6),
        Event::Frame(Frame::Finished),
        closed(Stream::Stdout),
        closed(Stream::Stderr),
    ];
    ended
        .into_iter()
        .for_each(|event| asked.sender.send(event).unwrap());
    talk(&mut timeline).hold(&asked.events).unwrap();
    for answers in [before, after] {
        assert!(matches!(answers.recv(), Ok(Answer::Started)));
        assert!(matches!(answers.recv(), Ok(Answer::Exited(Exit::Code(6)))));
        assert!(is_over(&answers));
    }
}
