//! Who calls on a machine that runs: signals for its workload, and commands beside it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use husk_init::archive::program::{self, Halt};
use husk_init::job::Size;
use rustix::io::write;

use super::life::{Reading, Watch};
use super::plugs::Plugs;
use super::reached::{Reached, unpaused};
use super::rejoin::look_after;
use crate::container;
use crate::machines::{Attend, Caller, Reply, Request};
use crate::sessions::{Answer, Refusal, SessionId, Stdio};
use crate::spec::sentence::describe;
use crate::spec::{Exec, Seat, Signal, Update};
use crate::sys::seqpacket::Seqpacket;

/// The message that the machine's lock comes with.
const LOCK: [u8; 1] = [0];

/// What somebody who called runs.
struct Called {
    caller: Caller,
    session: SessionId,
    /// Whether it is husk's own program, which does nothing for anybody else.
    own: bool,
}

/// Those who have called, with what they run.
pub struct Callers {
    watch: Watch,
    reached: Arc<Reached>,
    plugs: Plugs,
    sessions: Vec<Called>,
    /// Whether it is being changed.
    updates: Arc<AtomicBool>,
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
            updates: Arc::default(),
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
        if self.watch.note_end(number) {
            self.reached.let_go();
            if self.watch.is_paused() {
                return self.pause(false);
            }
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

    /// A guest takes its time to give memory back: others are answered meanwhile.
    fn update(&self, caller: &Caller, update: Update) -> Reply {
        let waits = update.is_of_memory() && matches!(*self.reached, Reached::Machine(_));
        if waits && self.watch.is_paused() {
            return refuse("it is paused, and its guest could give no memory back: unpause it");
        }
        if self.updates.swap(true, Ordering::SeqCst) {
            return refuse("it is being changed by somebody else; try again in a moment");
        }
        let (watch, reached) = (self.watch.clone(), Arc::clone(&self.reached));
        let updates = Arc::clone(&self.updates);
        let change = move || {
            let changed = watch.update(&update, &reached);
            updates.store(false, Ordering::SeqCst);
            changed.map_or_else(|why| refuse(&why), |()| Reply::Done)
        };
        if !waits {
            return change();
        }
        let told = caller.clone();
        let waits = thread::Builder::new().name("update".to_owned());
        match waits.spawn(move || told.tell(&change())) {
            Ok(_) => Reply::Underway,
            Err(error) => {
                self.updates.store(false, Ordering::SeqCst);
                refuse(&format!("its keeper has no thread for it ({error})"))
            }
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
        // husk's own program in a container is outside of what is halted.
        if let (Reached::Container(_), true) = (&*self.reached, exec.own) {
            return self.archive(&exec, files, caller);
        }
        if self.watch.is_paused() {
            return refuse("has it paused");
        }
        let Ok(stdio) = <[OwnedFd; 3]>::try_from(files).map(Stdio::from) else {
            return refuse("wants three files with a command");
        };
        if self.session(caller).is_some() {
            return refuse("runs one command for each who calls");
        }
        let (sender, answers) = channel();
        let (told, place) = (caller.clone(), self.reached.place());
        let own = exec.own;
        let halts = own && program::halting(&exec.argv).is_some();
        let reading = halts.then(|| self.watch.begin_reading());
        let listens = thread::Builder::new().name("caller".to_owned());
        let listens = listens.spawn(move || {
            pass_on(&answers, &told, place);
            drop(reading);
        });
        if let Err(error) = listens {
            return refuse(&format!("has no thread for it ({error})"));
        }
        let words = exec.argv.iter().map(|word| String::from_utf8_lossy(word));
        let command: Vec<_> = words.collect();
        let action = (!own).then(|| format!("exec_start: {}", command.join(" ")));
        match self.reached.exec(exec.into(), stdio, sender) {
            Ok(session) => self.begin(caller, session, own),
            Err(why) => return refuse(&why),
        }
        if let Some(action) = action {
            self.watch.note(&action, &[]);
        }
        Reply::Done
    }

    /// Has husk's own archiver work in a container, which is halted meanwhile where its words say so.
    fn archive(&self, exec: &Exec, files: Vec<OwnedFd>, caller: &Caller) -> Reply {
        let (Reached::Container(reach), Ok(files)) =
            (&*self.reached, <[OwnedFd; 3]>::try_from(files))
        else {
            return refuse("wants three files with a command");
        };
        let (halt, words) = match program::halting(&exec.argv) {
            Some((halt, words)) => (halt, words),
            None => (Halt::Nobody, exec.argv.clone()),
        };
        let hold = || self.hold(reach, &files[2]);
        let held = match (halt, (halt != Halt::Nobody).then(hold)) {
            (_, None) => None,
            (_, Some(Ok(held))) => Some(held),
            (Halt::InAnyCase, Some(Err(why))) => return refuse(&why),
            (_, Some(Err(why))) => {
                say(&files[2], &format!("it goes on meanwhile: husk {why}\n"));
                None
            }
        };
        match begin_archiver(reach, &words, files, (held, caller.clone())) {
            Ok(()) => Reply::Done,
            Err(error) => refuse(&format!("cannot reach into its container ({error})")),
        }
    }

    /// Halts a container for who reads it; else why not, as the rest of a sentence about its keeper.
    fn hold(&self, reach: &container::Reach, words: &OwnedFd) -> Result<Held, String> {
        let cannot = |error| unpaused(&error);
        let words = words.try_clone().map_err(cannot)?;
        reach.hold().map_err(cannot)?;
        Ok(Held {
            reached: Arc::clone(&self.reached),
            words,
            _reading: self.watch.begin_reading(),
        })
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
        self.begin(caller, SessionId::WORKLOAD, false);
        self.watch.note("attach", &[]);
        Reply::Done
    }

    fn resize(&self, caller: &Caller, size: Size) -> Reply {
        if let Some(session) = self.session(caller) {
            self.reached.resize(session, size);
        }
        Reply::Done
    }

    fn begin(&mut self, caller: &Caller, session: SessionId, own: bool) {
        let caller = caller.clone();
        self.sessions.push(Called {
            caller,
            session,
            own,
        });
    }

    fn called(&self, caller: &Caller) -> Option<&Called> {
        self.sessions.iter().find(|called| called.caller == *caller)
    }

    fn session(&self, caller: &Caller) -> Option<SessionId> {
        self.called(caller).map(|called| called.session)
    }
}

impl Attend for Callers {
    fn answer(&mut self, caller: &Caller, request: Request, files: Vec<OwnedFd>) -> Reply {
        match request {
            Request::Signal { number } => self.signal(number),
            Request::Exec(exec) => self.exec(caller, exec, files),
            Request::Attach => self.attach(caller, files),
            Request::Update(update) => self.update(caller, update),
            Request::Succeed => self.succeed(caller, files),
            Request::Join(seat) => self.connect(*seat, files),
            Request::Leave { network } => self.disconnect(&network),
            Request::Pause => self.pause(true),
            Request::Unpause => self.pause(false),
            Request::Resize { rows, columns } => self.resize(caller, Size { rows, columns }),
        }
    }

    fn leave(&mut self, caller: &Caller) {
        let called = self.called(caller);
        if let Some(called) = called.filter(|called| called.session != SessionId::WORKLOAD) {
            // Nobody gets what it reads, and everybody in the machine may stand still for it.
            if called.own {
                self.reached.signal(called.session, Signal::KILL);
            }
            self.reached.forsake(called.session);
        }
        self.sessions.retain(|called| called.caller != *caller);
        if self.heir.as_ref() == Some(caller) {
            self.heir = None;
            self.watch.dismiss();
        }
    }
}

/// A container that is halted for who reads its files, as long as this is there.
struct Held {
    reached: Arc<Reached>,
    /// Where is said that it did not stand still to the end.
    words: OwnedFd,
    _reading: Reading,
}

impl Held {
    /// Whether it stands still to this moment; if not, that is said to who reads.
    fn stands(&self) -> bool {
        let stands = match &*self.reached {
            Reached::Container(reach) => reach.stands(),
            Reached::Machine(_) => true,
        };
        if !stands {
            let text = "it was to end meanwhile, and so did not stand still\n";
            say(&self.words, text);
        }
        stands
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Reached::Container(reach) = &*self.reached {
            reach.release();
        }
    }
}

/// Has husk's own archiver in a container do as its words say; what becomes of it is told to `caller`.
fn begin_archiver(
    reach: &container::Reach,
    words: &[Vec<u8>],
    files: [OwnedFd; 3],
    (held, caller): (Option<Held>, Caller),
) -> io::Result<()> {
    let mut archiver = reach.archive(words, files)?;
    let waits = thread::Builder::new().name("archiver".to_owned());
    waits.spawn(move || {
        caller.tell(&Reply::Started);
        let status = archiver.wait().ok().and_then(|ended| ended.code());
        let killed = 128 + Signal::KILL.number();
        let status = status.map_or(killed, |code| u8::try_from(code).unwrap_or(killed));
        let stood = held.as_ref().is_none_or(Held::stands);
        drop(held);
        let status = if stood { status } else { status.max(1) };
        caller.tell(&Reply::Exited { status });
    })?;
    Ok(())
}

fn say(to: &OwnedFd, text: &str) {
    // Without a reader nobody wants to know.
    let _unread = write(to, text.as_bytes());
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
