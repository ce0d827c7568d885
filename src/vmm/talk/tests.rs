//! The talk with guests that do what they should not, and none that is waited for for ever.

mod sessions;

use std::fs::File;
use std::mem;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use husk_init::exit::{Failure, Stage};
use husk_init::job::Process;

use super::*;
use crate::sessions::Stdio;
use crate::sys::seqpacket::Seqpacket;

fn topic() -> Topic {
    Topic {
        job: Job::default(),
        boot_deadline: Some(Duration::from_secs(1)),
        timeout: None,
    }
}

/// A hall whose machine nobody is, and who uses the workload's streams.
fn parties() -> (Arc<Hall>, Arc<Client>) {
    let (uplink, machine) = Seqpacket::pair().unwrap();
    // Its orders wait in the socket.
    mem::forget(machine);
    let process = Process::default();
    let client = Arc::new(Client::new(nobodys(), &process).unwrap());
    let workload = (Arc::clone(&client), streams_of(&process));
    (Arc::new(Hall::new(uplink, workload, channel().0)), client)
}

fn nobodys() -> Stdio {
    let null = || File::open("/dev/null").unwrap().into();
    Stdio {
        stdin: null(),
        stdout: null(),
        stderr: null(),
    }
}

fn talk(timeline: &mut Timeline) -> Talk<'_> {
    Talk::new(topic(), parties(), timeline)
}

/// Takes events that end nothing.
fn go_on(talk: &mut Talk<'_>, events: Vec<Event>) {
    for event in events {
        let shown = format!("{event:?}");
        assert!(matches!(talk.take(event), Ok(None)), "{shown}");
    }
}

fn built() -> Event {
    let flavour = Flavour::Hardware;
    Event::Report(Report::Built { flavour })
}

fn until_running() -> Vec<Event> {
    vec![
        built(),
        Event::Control(Orders::to_nobody()),
        Event::Frame(Frame::Started { session: 0 }),
    ]
}

fn exited(code: u8) -> Event {
    let exit = Exit::Code(code);
    Event::Frame(Frame::Exited { session: 0, exit })
}

fn closed(stream: Stream) -> Event {
    Event::Closed(0, stream, Ok(()))
}

fn stopped() -> Event {
    Event::Report(Report::Stopped {
        reason: "it reset".to_owned(),
    })
}

fn reason(answer: Result<Option<Exit>, Error>) -> String {
    match answer {
        Err(Error::Vanished { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_guest_that_finishes_without_its_streams_is_not_waited_for() {
    let mut timeline = Timeline::start();
    let mut talk = talk(&mut timeline);
    go_on(&mut talk, until_running());
    go_on(&mut talk, vec![exited(3), Event::Frame(Frame::Finished)]);
    assert!(talk.deadline.is_some());
    assert_eq!(talk.expire().unwrap(), Some(Exit::Code(3)));
}

#[test]
fn a_guest_that_never_finishes_is_not_waited_for() {
    let mut timeline = Timeline::start();
    let mut talk = talk(&mut timeline);
    go_on(&mut talk, until_running());
    go_on(&mut talk, vec![exited(3), closed(Stream::Stdout)]);
    assert!(talk.deadline.is_some());
    assert_eq!(talk.expire().unwrap(), Some(Exit::Code(3)));
}

#[test]
fn a_workload_that_survives_its_timeout_ends_with_the_machine() {
    let mut timeline = Timeline::start();
    let mut talk = talk(&mut timeline);
    talk.topic.timeout = Some(Duration::from_secs(1));
    go_on(&mut talk, until_running());
    assert_eq!(talk.expire().unwrap(), None);
    assert!(talk.deadline.is_some() && talk.timed_out);
    assert_eq!(talk.expire().unwrap(), Some(Exit::Signal(9)));
}

#[test]
fn the_last_bytes_and_words_of_a_guest_that_is_gone_are_taken() {
    let mut timeline = Timeline::start();
    let mut dead = talk(&mut timeline);
    go_on(&mut dead, until_running());
    go_on(&mut dead, vec![stopped(), Event::Gone, Event::HungUp]);
    go_on(&mut dead, vec![closed(Stream::Stdout)]);
    assert_eq!(reason(dead.take(closed(Stream::Stderr))), "it reset");
    let mut timeline = Timeline::start();
    let mut done = talk(&mut timeline);
    go_on(&mut done, until_running());
    go_on(
        &mut done,
        vec![stopped(), closed(Stream::Stderr), exited(4)],
    );
    let last = done.take(closed(Stream::Stdout));
    assert_eq!(last.unwrap(), Some(Exit::Code(4)));
}

#[test]
fn a_guest_that_hangs_up_and_lives_is_lost() {
    let mut timeline = Timeline::start();
    let mut talk = talk(&mut timeline);
    go_on(&mut talk, until_running());
    go_on(&mut talk, vec![Event::HungUp]);
    assert!(talk.deadline.is_some());
    assert_eq!(reason(talk.expire()), "it hung up");
}

#[test]
fn a_guest_that_halts_is_lost_with_its_last_bytes_taken() {
    let mut timeline = Timeline::start();
    let mut talk = talk(&mut timeline);
    go_on(&mut talk, until_running());
    go_on(&mut talk, vec![Event::Halted]);
    talk.client.pulse.give(|| ());
    assert_eq!(talk.expire().unwrap(), None);
    assert_eq!(reason(talk.expire()), "it halted");
}

#[test]
fn a_machine_that_dies_before_its_guest_speaks_is_told_at_once() {
    let mut timeline = Timeline::start();
    let mut talk = talk(&mut timeline);
    go_on(&mut talk, vec![built()]);
    assert_eq!(reason(talk.take(Event::Gone)), "its process is gone");
}

#[test]
fn what_a_machine_says_cannot_fool_a_terminal() {
    let mut timeline = Timeline::start();
    let text = "\x1b[2Jtwo\nlines".to_owned();
    let answer = talk(&mut timeline).take(Event::Report(Report::Failed { text }));
    let said = answer.unwrap_err().to_string();
    assert!(!said.contains(char::is_control), "{said:?}");
}

fn any_event(number: u8) -> Event {
    match number % 17 {
        0 => built(),
        1 => Event::Control(Orders::to_nobody()),
        2 => Event::Frame(Frame::Started { session: 0 }),
        3 => exited(0),
        4 => Event::Frame(Frame::Finished),
        5 => closed(Stream::Stdout),
        6 => closed(Stream::Stderr),
        7 => closed(Stream::Stdin),
        8 => Event::HungUp,
        9 => Event::Gone,
        10 => stopped(),
        11 => Event::Signal(Signal::TERM),
        12 => Event::Frame(Frame::Hello),
        13 => Event::Frame(Frame::Failed {
            session: 0,
            failure: Failure {
                stage: Stage::Exec,
                errno: 2,
                detail: Vec::new(),
            },
        }),
        14 => Event::Broken("x".to_owned()),
        15 => Event::Halted,
        _ => Event::Report(Report::Connected { port: 1 }),
    }
}

proptest::proptest! {
    /// Whatever comes, in whatever order: the talk ends, or waits for a workload that runs.
    #[test]
    fn no_order_of_events_is_waited_for_forever(
        numbers in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
    ) {
        let mut timeline = Timeline::start();
        let mut talk = talk(&mut timeline);
        for number in numbers {
            if !matches!(talk.take(any_event(number)), Ok(None)) {
                return Ok(());
            }
        }
        proptest::prop_assert!(talk.deadline.is_some() || talk.state == State::Running);
        proptest::prop_assert!(talk.timeline.phases().count() < 8);
    }
}

#[test]
fn a_guest_meets_its_deadline_whether_silent_or_not() {
    for flood in [0, 10_000_000] {
        let mut timeline = Timeline::start();
        let mut topic = topic();
        topic.boot_deadline = Some(Duration::from_millis(20));
        let (sender, events) = sync_channel(10);
        let flooder = thread::spawn(move || {
            let connected = || Event::Report(Report::Connected { port: 1 });
            (0..flood).any(|_| sender.send(connected()).is_err());
            thread::sleep(Duration::from_millis(100));
        });
        let ending = Talk::new(topic, parties(), &mut timeline).hold(&events);
        assert!(matches!(ending, Err(Error::Silent { .. })));
        drop(events);
        flooder.join().unwrap();
    }
}

#[test]
fn what_the_machine_counted_is_in_the_ending() {
    let (sender, events) = channel();
    let counts: BTreeMap<_, _> = [("exits".to_owned(), 3)].into();
    let report = Report::Exits {
        counts: counts.clone(),
    };
    let ended = [
        Event::Report(report),
        exited(0),
        Event::Frame(Frame::Finished),
        closed(Stream::Stdout),
        closed(Stream::Stderr),
    ];
    for event in until_running().into_iter().chain(ended) {
        sender.send(event).unwrap();
    }
    let mut timeline = Timeline::start();
    let ending = talk(&mut timeline).hold(&events).unwrap();
    assert_eq!(ending.exits, counts);
}
