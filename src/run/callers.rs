//! Who calls on a machine that runs: signals for its workload, and commands beside it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use husk_init::job::Size;

use super::life::Watch;
use super::plugs::Plugs;
use super::reached::Reached;
use super::rejoin::look_after;
use crate::container;
use crate::machines::{Attend, Caller, Reply, Request};
use crate::sessions::{Answer, Refusal, SessionId, Stdio};
use crate::spec::sentence::describe;
use crate::spec::{Exec, Seat, Signal, Update};
use crate::sys::seqpacket::Seqpacket;

/// The message that the machine's lock comes with.
const LOCK: [u8; 1] = [0];

/// Those who have called, with what they run.
pub struct Callers {
    watch: Watch,
    reached: Arc<Reached>,
    plugs: Plugs,
    sessions: Vec<(Caller, SessionId)>,
    /// Who starts the machine again after its end, where that is not the keeper's own parent.
    heir: Option<Caller>,
}

impl Callers {
    /// Callers on what is reached by `reached`; `watch` hears of what is to end it.
    pub fn new(watch: Watch, reached: Arc<Reached>, plugs: Plugs) -> Self {
        Self {
            watch,
            reached,
            plugs,
            sessions: Vec::new(),
            heir: None,
        }
    }

    fn signal(&self, number: u8) -> Reply {
        let Some(signal) = Signal::from_number(number) else {
            return refuse(&format!("knows no signal {number}"));
        };
        self.reached.signal(SessionId::WORKLOAD, signal);
        self.watch.note("kill", &[("signal", &number.to_string())]);
        // What is halted could not end.
        if self.watch.note_end(number) && self.watch.is_paused() {
            return self.pause(false);
        }
        Reply::Done
    }

    fn pause(&self, paused: bool) -> Reply {
        if self.watch.is_paused() == paused {
            return refuse(if paused {
                "has it paused already"
            } else {
                "has it running already"
            });
        }
        match self.reached.pause(paused) {
            Ok(()) => {
                self.watch.note_pause(paused);
                self.watch
                    .note(if paused { "pause" } else { "unpause" }, &[]);
                Reply::Done
            }
            Err(why) => refuse(&why),
        }
    }

    fn update(&self, update: &Update) -> Reply {
        match self.watch.update(update, &self.reached) {
            Ok(()) => Reply::Done,
            Err(why) => refuse(&why),
        }
    }

    fn succeed(&mut self, caller: &Caller, files: Vec<OwnedFd>) -> Reply {
        let Ok([socket]) = <[OwnedFd; 1]>::try_from(files) else {
            return refuse("wants a way to hand its lock over");
        };
        let lock = match self.watch.appoint() {
            Ok(Some(lock)) => lock,
            Ok(None) => return Reply::Done,
            Err(why) => return refuse(why),
        };
        match Seqpacket::from(socket).send_files_now(&LOCK, &[lock.as_fd()]) {
            Ok(()) => {
                self.heir = Some(caller.clone());
                Reply::Done
            }
            Err(error) => {
                self.watch.dismiss();
                refuse(&format!("cannot hand its lock over ({error})"))
            }
        }
    }

    fn connect(&self, seat: Seat, files: Vec<OwnedFd>) -> Reply {
        let Ok([trunk]) = <[OwnedFd; 1]>::try_from(files) else {
            return refuse("wants a connection to a switch");
        };
        match self.plugs.join(seat.clone(), trunk) {
            Ok(()) => {
                self.watch.note_join(seat);
                // Nobody looks after it then: what its switch's end takes is gone.
                let _unwatched = look_after(&self.plugs, &self.watch);
                Reply::Done
            }
            Err(why) => refuse(&why),
        }
    }

    fn disconnect(&self, network: &str) -> Reply {
        match self.plugs.leave(network) {
            Ok(()) => {
                self.watch.note_leave(network);
                Reply::Done
            }
            Err(why) => refuse(&why),
        }
    }

    fn exec(&mut self, caller: &Caller, exec: Exec, files: Vec<OwnedFd>) -> Reply {
        if self.watch.is_paused() {
            return refuse("has it paused");
        }
        if let (Reached::Container(reach), true) = (&*self.reached, exec.own) {
            return archive(reach, &exec, files, caller);
        }
        let Ok(stdio) = <[OwnedFd; 3]>::try_from(files).map(Stdio::from) else {
            return refuse("wants three files with a command");
        };
        if self.session(caller).is_some() {
            return refuse("runs one command for each who calls");
        }
        let (sender, answers) = channel();
        let (told, place) = (caller.clone(), self.reached.place());
        let listens = thread::Builder::new().name("caller".to_owned());
        if let Err(error) = listens.spawn(move || pass_on(&answers, &told, place)) {
            return refuse(&format!("has no thread for it ({error})"));
        }
        let words = exec.argv.iter().map(|word| String::from_utf8_lossy(word));
        let command: Vec<_> = words.collect();
        let action = (!exec.own).then(|| format!("exec_start: {}", command.join(" ")));
        match self.reached.exec(exec.into(), stdio, sender) {
            Ok(session) => self.sessions.push((caller.clone(), session)),
            Err(why) => return refuse(&why),
        }
        if let Some(action) = action {
            self.watch.note(&action, &[]);
        }
        Reply::Done
    }

    fn attach(&mut self, caller: &Caller, files: Vec<OwnedFd>) -> Reply {
        let Ok([typed]) = <[OwnedFd; 1]>::try_from(files) else {
            return refuse("wants one file with what is typed");
        };
        if self.session(caller).is_some() {
            return refuse("runs something else for who calls");
        }
        let stdin = match self.watch.stdin() {
            Ok(Some(stdin)) => stdin,
            Ok(None) => return refuse("has it in the foreground: its streams are in use there"),
            Err(error) => return refuse(&format!("has no file for it ({error})")),
        };
        let typist = thread::Builder::new().name("typist".to_owned());
        // It ends with the caller, whose pipe it reads.
        if let Err(error) = typist.spawn(move || io::copy(&mut File::from(typed), &mut &stdin)) {
            return refuse(&format!("has no thread for it ({error})"));
        }
        self.sessions.push((caller.clone(), SessionId::WORKLOAD));
        self.watch.note("attach", &[]);
        Reply::Done
    }

    fn resize(&self, caller: &Caller, size: Size) -> Reply {
        if let Some(session) = self.session(caller) {
            self.reached.resize(session, size);
        }
        Reply::Done
    }

    fn session(&self, caller: &Caller) -> Option<SessionId> {
        let mut sessions = self.sessions.iter();
        sessions.find_map(|(other, session)| (other == caller).then_some(*session))
    }
}

impl Attend for Callers {
    fn answer(&mut self, caller: &Caller, request: Request, files: Vec<OwnedFd>) -> Reply {
        match request {
            Request::Signal { number } => self.signal(number),
            Request::Exec(exec) => self.exec(caller, exec, files),
            Request::Attach => self.attach(caller, files),
            Request::Update(update) => self.update(&update),
            Request::Succeed => self.succeed(caller, files),
            Request::Join(seat) => self.connect(*seat, files),
            Request::Leave { network } => self.disconnect(&network),
            Request::Pause => self.pause(true),
            Request::Unpause => self.pause(false),
            Request::Resize { rows, columns } => self.resize(caller, Size { rows, columns }),
        }
    }

    fn leave(&mut self, caller: &Caller) {
        let session = self
            .session(caller)
            .filter(|session| *session != SessionId::WORKLOAD);
        if let Some(session) = session {
            self.reached.forsake(session);
        }
        self.sessions.retain(|(other, _)| other != caller);
        if self.heir.as_ref() == Some(caller) {
            self.heir = None;
            self.watch.dismiss();
        }
    }
}

/// Has husk's own archiver work in a container.
fn archive(reach: &container::Reach, exec: &Exec, files: Vec<OwnedFd>, caller: &Caller) -> Reply {
    let Ok(files) = <[OwnedFd; 3]>::try_from(files) else {
        return refuse("wants three files with a command");
    };
    let begun = reach.archive(&exec.argv, files);
    let told = caller.clone();
    let waits = thread::Builder::new().name("archiver".to_owned());
    let waits = begun.and_then(|mut archiver| {
        waits.spawn(move || {
            told.tell(&Reply::Started);
            let status = archiver.wait().ok().and_then(|ended| ended.code());
            let killed = 128 + Signal::KILL.number();
            told.tell(&Reply::Exited {
                status: status.map_or(killed, |code| u8::try_from(code).unwrap_or(killed)),
            });
        })
    });
    match waits {
        Ok(_) => Reply::Done,
        Err(error) => refuse(&format!("cannot reach into its container ({error})")),
    }
}

fn refuse(text: &str) -> Reply {
    Reply::Refused {
        text: text.to_owned(),
    }
}

/// Tells a caller what becomes of what it runs, to the last word.
fn pass_on(answers: &Receiver<Answer>, caller: &Caller, place: &str) {
    for answer in answers {
        caller.tell(&match answer {
            Answer::Started => Reply::Started,
            Answer::Failed(failure) => Reply::Failed {
                text: describe(&failure, place),
                status: failure.status(),
            },
            Answer::Refused(why) => Reply::Failed {
                text: why.to_string(),
                status: refusal_status(&why),
            },
            Answer::Exited(exit) => Reply::Exited {
                status: exit.status(),
            },
            // Everything in the machine was killed with it.
            Answer::Lost => Reply::Exited {
                status: 128 + Signal::KILL.number(),
            },
        });
    }
}

/// Docker's numbers: 1 for a machine that runs nothing, 125 for what husk, or the guest, cannot do.
fn refusal_status(why: &Refusal) -> u8 {
    match why {
        Refusal::NotRunning | Refusal::Over => 1,
        _ => 125,
    }
}
