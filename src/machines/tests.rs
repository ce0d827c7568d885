//! Machines whose makers and keepers are killed, race, and talk nonsense.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::spec::{Exec, RunRequest, Signal, time};
use crate::sys::seqpacket::Seqpacket;

fn home() -> (TempDir, Machines) {
    let home = tempfile::tempdir().unwrap();
    let machines = Machines::open(home.path()).unwrap();
    (home, machines)
}

fn create(machines: &Machines, name: Option<&str>) -> Result<Held, Error> {
    let id = Id::random().unwrap();
    machines.create(id.clone(), name, |name| Record {
        id,
        name,
        created: time::now(),
        image: "busybox".to_owned(),
        image_id: format!("sha256:{}", "0".repeat(64)),
        request: RunRequest::default(),
        resolved: Resolved::default(),
    })
}

fn running() -> State {
    State {
        status: Status::Running,
        pid: 1,
        started: 1,
        ..State::default()
    }
}

fn names(machines: &Machines) -> Vec<String> {
    let all = machines.list(false).unwrap();
    all.into_iter().map(|machine| machine.record.name).collect()
}

#[test]
fn a_machine_is_found_by_what_people_call_it() {
    let (_home, machines) = home();
    let id = create(&machines, Some("web")).unwrap().machine.record.id;
    let other = create(&machines, None).unwrap().machine.record;
    let found = |asked: &str| machines.find(asked).unwrap().record.id;
    assert_eq!(found("web"), id);
    assert_eq!(found(id.long()), id);
    assert_eq!(found(id.short()), id);
    assert_eq!(found(&other.name), other.id);
    let hint = machines.find("wbe").unwrap_err().to_string();
    assert_eq!(hint, "no machine `wbe`: did you mean `web`?");
    for asked in ["nothing", "", "..", "../machines", "a/b", "\u{1b}"] {
        let error = machines.find(asked).unwrap_err();
        assert!(matches!(error, Error::NoSuch { .. }), "{asked}: {error}");
    }
    // Of seventeen IDs two begin with the same digit.
    (0..15).for_each(|_| drop(create(&machines, None).unwrap()));
    let ambiguous =
        |digit: char| matches!(machines.find(&digit.to_string()), Err(Error::Ambiguous(_)));
    assert!("0123456789abcdef".chars().any(ambiguous));
}

#[test]
fn a_name_is_somebodys_until_it_is_given_away() {
    let (_home, machines) = home();
    let held = create(&machines, Some("web")).unwrap();
    let taken = create(&machines, Some("web")).unwrap_err().to_string();
    let expected = format!(
        "the name `web` is taken by machine {}: remove or rename it, or choose another name",
        held.machine.record.id.short()
    );
    assert_eq!(taken, expected);
    for name in ["-a", "a", "a b", "a/b", "..", ""] {
        let error = create(&machines, Some(name)).unwrap_err();
        assert!(matches!(error, Error::BadName(_)), "{name}");
    }
    machines.rename(&held.machine, "api").unwrap();
    assert_eq!(names(&machines), ["api"]);
    let held_too = create(&machines, Some("web")).unwrap();
    let error = machines.rename(&held_too.machine, "api").unwrap_err();
    assert!(matches!(error, Error::NameTaken { .. }));
    // What is held knows it by its old name, and removes the one that it has.
    drop(held);
    let held = machines
        .hold(machines.find("api").unwrap())
        .unwrap()
        .unwrap();
    machines.remove(&held).unwrap();
    assert_eq!(names(&machines), ["web"]);
    drop(create(&machines, Some("api")).unwrap());
}

#[test]
fn of_many_who_want_a_name_one_gets_it() {
    const RIVALS: usize = 8;
    let (home, machines) = home();
    let rival = || {
        // Of its own, as another process would have.
        let machines = Machines::open(home.path()).unwrap();
        let mut won = 0;
        for round in 0..20 {
            match create(&machines, Some(&format!("round-{round}"))) {
                Ok(_) => won += 1,
                Err(Error::NameTaken { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        won
    };
    let won: usize = thread::scope(|scope| {
        let rivals: Vec<_> = (0..RIVALS).map(|_| scope.spawn(rival)).collect();
        rivals.into_iter().map(|rival| rival.join().unwrap()).sum()
    });
    let mut left = names(&machines);
    left.sort();
    left.dedup();
    assert_eq!((won, left.len()), (20, 20));
    assert_eq!(machines.list(false).unwrap().len(), 20);
}

#[test]
fn whoever_dies_while_making_one_leaves_nothing_or_a_machine() {
    let (home, machines) = home();
    let place = home.path().join("machines");
    let made = create(&machines, Some("whole")).unwrap();
    let record = fs::read(made.machine.folder.path().join("record.json")).unwrap();
    drop(made);
    let folder = |digit: char| place.join(digit.to_string().repeat(64));
    // After each of its steps: a folder, a lock, half a record.
    fs::create_dir(folder('1')).unwrap();
    fs::create_dir(folder('2')).unwrap();
    fs::write(folder('2').join("lock"), "").unwrap();
    fs::create_dir(folder('3')).unwrap();
    fs::write(folder('3').join("record.json"), &record[..record.len() / 2]).unwrap();
    // A name that leads to nobody, to half of somebody, to somebody who is called otherwise.
    let link = |name: &str, digit: char| {
        let target = Path::new("..").join(digit.to_string().repeat(64));
        symlink(target, place.join("names").join(name)).unwrap();
    };
    link("nobody", '9');
    link("half", '3');
    // A record, and no name yet.
    fs::create_dir(folder('4')).unwrap();
    let text = String::from_utf8(record).unwrap();
    let whole = machines.find("whole").unwrap().record.id;
    let text = text
        .replace(whole.long(), &"4".repeat(64))
        .replace("whole", "nameless");
    fs::write(folder('4').join("record.json"), text).unwrap();
    link("otherwise", '4');

    let mut left = names(&machines);
    left.sort();
    assert_eq!(left, ["nameless", "whole"]);
    for digit in ['1', '2', '3'] {
        assert!(!folder(digit).exists(), "{digit} is swept");
    }
    for name in ["nobody", "half", "otherwise", "nameless"] {
        assert!(machines.find(name).is_err(), "{name}");
        drop(create(&machines, Some(name)).unwrap());
        assert_eq!(machines.find(name).unwrap().record.name, name);
    }
    let nameless = machines.find("4444").unwrap();
    let held = machines.hold(nameless).unwrap().unwrap();
    machines.remove(&held).unwrap();
    assert!(!folder('4').exists());
    assert!(machines.find("nameless").is_ok(), "the other one keeps it");
}

#[test]
fn who_is_about_to_make_one_is_not_swept() {
    let (home, machines) = home();
    let making = || {
        let machines = Machines::open(home.path()).unwrap();
        (0..50).for_each(|_| drop(create(&machines, None).unwrap()));
    };
    thread::scope(|scope| {
        let makers: Vec<_> = (0..3).map(|_| scope.spawn(making)).collect();
        while makers.iter().any(|maker| !maker.is_finished()) {
            machines.list(false).unwrap();
        }
    });
    assert_eq!(names(&machines).len(), 150);
}

#[test]
fn running_counts_only_as_long_as_the_keeper_lives() {
    let (_home, machines) = home();
    let held = create(&machines, Some("web")).unwrap();
    held.machine.folder.write_state(&running()).unwrap();
    assert_eq!(machines.list(true).unwrap().len(), 1);
    let found = machines.find("web").unwrap();
    assert_eq!((found.state.status, found.kept), (Status::Running, true));
    assert!(machines.hold(found).unwrap().is_none());
    drop(held);
    assert_eq!(machines.list(true).unwrap().len(), 0);
    let found = machines.find("web").unwrap();
    let State {
        status,
        exit_code,
        pid,
        ref error,
        ..
    } = found.state;
    assert_eq!((status, exit_code, pid), (Status::Exited, 137, 0));
    assert_eq!(
        (error.as_str(), found.kept),
        ("its keeper was killed", false)
    );
    // Whoever saw it wrote it down.
    let written = found.folder.state().unwrap();
    assert_eq!((written.status, written.exit_code), (Status::Exited, 137));
    let held = machines.hold(found).unwrap().unwrap();
    machines.remove(&held).unwrap();
    assert_eq!(machines.list(false).unwrap().len(), 0);
}

#[test]
fn a_machine_that_is_removed_meanwhile_is_no_failure_of_a_list() {
    let (home, machines) = home();
    let churn = || {
        let machines = Machines::open(home.path()).unwrap();
        for _ in 0..100 {
            let held = create(&machines, None).unwrap();
            held.machine.folder.write_state(&running()).unwrap();
            machines.remove(&held).unwrap();
        }
    };
    thread::scope(|scope| {
        let churns: Vec<_> = (0..3).map(|_| scope.spawn(churn)).collect();
        while churns.iter().any(|churn| !churn.is_finished()) {
            machines.list(false).unwrap();
            machines.list(true).unwrap();
        }
    });
    assert_eq!(names(&machines).len(), 0);
    assert_eq!(
        fs::read_dir(home.path().join("machines/names"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_keeper_is_asked_and_says_the_end() {
    let (_home, machines) = home();
    let held = create(&machines, Some("web")).unwrap();
    held.machine.folder.write_state(&running()).unwrap();
    let (sender, signals) = channel();
    let control = Control::open(&held.machine.folder).unwrap();
    let audience = control.serve(move |request, _files| match request {
        Request::Signal { number: 10 } => Reply::Refused {
            text: "does not like it".to_owned(),
        },
        Request::Signal { number } => {
            sender.send(number).unwrap();
            Reply::Done
        }
        _ => Reply::Started,
    });
    let audience = audience.unwrap();
    let mut asking = machines.find("web").unwrap();
    asking.signal(Signal::TERM).unwrap();
    assert_eq!(signals.recv().unwrap(), 15);
    let refused = asking.signal(Signal::parse("USR1").unwrap()).unwrap_err();
    assert!(
        refused.to_string().contains("does not like it"),
        "{refused}"
    );
    // Who talks nonsense is hung up on, and nobody else notices.
    let path = held.machine.folder.path().join("control");
    let rude = Seqpacket::connect(path.to_str().unwrap()).unwrap();
    rude.send(b"{\"Signal\":", &[]).unwrap();
    let begun = Instant::now();
    while !matches!(rude.receive(), Ok(None)) {
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(asking.wait(Some(Duration::from_millis(50))).unwrap(), None);
    let waiting = thread::spawn(move || asking.wait(Some(Duration::from_secs(2))).unwrap());
    thread::sleep(Duration::from_millis(100));
    machines.remove(&held).unwrap();
    audience.tell_the_end(7);
    // Its files are gone, and the status is known all the same.
    assert_eq!(waiting.join().unwrap(), Some(7));
}

/// Has somebody else tell of what was begun, before it is answered that it is.
struct Hasty;

impl Attend for Hasty {
    fn answer(&mut self, caller: &Caller, _: Request, _: Vec<OwnedFd>) -> Reply {
        let told = caller.clone();
        thread::spawn(move || told.tell(&Reply::Started));
        thread::sleep(Duration::from_millis(50));
        Reply::Done
    }
}

#[test]
fn what_a_request_sets_off_is_told_after_its_answer() {
    let (_home, machines) = home();
    let held = create(&machines, Some("web")).unwrap();
    held.machine.folder.write_state(&running()).unwrap();
    let control = Control::open(&held.machine.folder).unwrap();
    let _audience = control.serve(Hasty).unwrap();
    let line = Line::connect(&held.machine.folder).unwrap().unwrap();
    let answer = line.ask(&Request::Exec(Exec::default()), &[]).unwrap();
    assert_eq!(answer, Answer::Reply(Reply::Done));
    let told = line.wait(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(told, Answer::Reply(Reply::Started));
}

#[test]
fn more_callers_than_a_keeper_has_seats_are_served_in_turn() {
    let (_home, machines) = home();
    let held = create(&machines, Some("web")).unwrap();
    held.machine.folder.write_state(&running()).unwrap();
    let control = Control::open(&held.machine.folder).unwrap();
    let _audience = control.serve(|_, _| Reply::Done).unwrap();
    let idle: Vec<_> = (0..64)
        .map(|_| Line::connect(&held.machine.folder).unwrap().unwrap())
        .collect();
    thread::scope(|scope| {
        let asked = scope.spawn(|| machines.find("web").unwrap().signal(Signal::TERM));
        thread::sleep(Duration::from_millis(100));
        drop(idle);
        asked.join().unwrap().unwrap();
    });
}

#[test]
fn what_happened_is_read_in_its_order_across_files_that_were_put_aside() {
    let (_home, machines) = home();
    let held = create(&machines, Some("web")).unwrap();
    let mut journal = machines.journal().unwrap();
    let long = "x".repeat(64 << 10);
    // Longer than one file may grow: it is put aside at the next machine.
    for number in 0..80 {
        let (number, record) = (number.to_string(), &held.machine.record);
        machines.note(record, "kill", &[("signal", &number), ("text", &long)]);
    }
    let action =
        |journal: &mut super::Journal| journal.advance().unwrap().map(|event| event.action);
    assert_eq!(action(&mut journal).as_deref(), Some("create"));
    machines.remove(&held).unwrap();
    let other = create(&machines, Some("other")).unwrap();
    let expected: Vec<_> = (0..80)
        .map(|_| "kill")
        .chain(["destroy", "create"])
        .collect();
    let mut read = || std::iter::from_fn(|| action(&mut journal)).collect::<Vec<_>>();
    assert_eq!(read(), expected);
    machines.remove(&other).unwrap();
    assert_eq!(read(), ["destroy"]);
    // Who comes later reads both files.
    let mut late = machines.journal().unwrap();
    assert_eq!(std::iter::from_fn(|| action(&mut late)).count(), 84);
}
