//! A run as a part of its machine's life: registered before it starts, reachable while it lasts, its end
//! written when it is over.
//!
//! The same in the foreground, where this process is `husk run` and the streams are the user's, and in the
//! background, where it is the keeper ([`super::keeper`]) and the output goes to the machine's log.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::callers::Callers;
use super::keeper::{Reporter, Verdict};
use super::plugs::Plugs;
use super::reached::Reached;
use super::{Error, Outcome, embedded};
use crate::image::{Image, write_blank};
use crate::machines::{
    Audience, Control, Folder, Health, Held, Id, Log, Machine, Machines, Record, Resolved, State,
    Status, Stream,
};
use crate::spec::sentence::sentence;
use crate::spec::{Published, Restart, RunRequest, RunSpec, Seat, Signal, Update, Written, time};
use crate::sys::lock::lock;

/// One run of a machine.
pub struct Life {
    machines: Machines,
    id: Id,
    held: Option<Held>,
    watch: Option<Watch>,
    output: Output,
}

/// Where the workload's output goes.
enum Output {
    /// To this process's own streams.
    Own,
    /// To the log; who started the keeper waits for its report. Whether this is one run of several is the
    /// supervisor's to know.
    Log {
        reporter: Reporter,
        is_supervised: bool,
    },
}

/// What other threads do while it lasts.
#[derive(Clone)]
pub struct Watch(Arc<Watched>);

/// Somebody for whom it stands still.
pub struct Reading(Watch);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Watched {
    machines: Machines,
    record: Record,
    folder: Folder,
    state: Mutex<State>,
    /// Whether its end is being written.
    is_over: AtomicBool,
    stop_signal: u8,
    /// Whether somebody is there to start it again.
    is_supervised: AtomicBool,
    /// How many have it stand still while they read it.
    readers: AtomicUsize,
    /// The machine's lock, of a machine in the background: for who comes to be there.
    lock: Option<OwnedFd>,
    audience: Mutex<Option<Audience>>,
    log: Option<Log>,
    /// Of a machine in the background: it does not end, and has what those type who attach.
    stdin: Option<PipeWriter>,
    outputs: Mutex<Vec<(Stream, PipeReader)>>,
    writers: Mutex<Vec<JoinHandle<()>>>,
    reporter: Mutex<Reporter>,
    plugs: Mutex<Plugs>,
}

impl Life {
    /// A run in the foreground, of a machine that does not exist yet.
    pub fn begin(machines: Machines) -> Result<Self, Error> {
        Ok(Self {
            machines,
            id: Id::random()?,
            held: None,
            watch: None,
            output: Output::Own,
        })
    }

    /// A run in the background, of a machine whose lock is ours.
    pub fn resume(machines: Machines, held: Held, reporter: Reporter, is_supervised: bool) -> Self {
        Self {
            machines,
            id: held.machine.record.id.clone(),
            held: Some(held),
            watch: None,
            output: Output::Log {
                reporter,
                is_supervised,
            },
        }
    }

    /// The machine's ID.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Registers the machine, if it is not; gives it its name.
    pub fn enroll(
        &mut self,
        reference: &str,
        request: RunRequest,
        image: &Image,
        spec: &mut RunSpec,
    ) -> Result<(), Error> {
        let held = match self.held.take() {
            Some(held) => held,
            None => register(&self.machines, &self.id, reference, request, (image, spec))?,
        };
        spec.name.clone_from(&held.machine.record.name);
        self.held = Some(held);
        Ok(())
    }

    /// A file for what the workload tries to reach.
    pub fn begin_attempts(&self) -> Result<File, Error> {
        let held = self.held.as_ref().ok_or(Error::Unregistered)?;
        Ok(held.machine.folder.begin_attempts()?)
    }

    /// A disk of `len` bytes for what the workload writes, which is the machine's own: what its runs before wrote is on it.
    pub fn disk(&self, len: u64) -> Result<Written, Error> {
        let held = self.held.as_ref().ok_or(Error::Unregistered)?;
        let begin = |file: &mut File| write_blank(embedded::BLANK_DISK, file, len);
        let (file, len) = held.machine.folder.disk(begin)?;
        Ok(Written { file, len })
    }

    /// The user's ends of the workload's streams, and what other threads need while they carry them.
    pub fn open(&mut self, spec: &RunSpec) -> Result<([OwnedFd; 3], Watch), Error> {
        let is_supervised = self.is_supervised();
        let held = self.held.as_ref().ok_or(Error::Unregistered)?;
        let folder = held.machine.folder.try_clone()?;
        let mut outputs = Vec::new();
        let (stdio, log, reporter, stdin) = match &mut self.output {
            Output::Own => (own_streams()?, None, Reporter::nobody(), None),
            Output::Log { reporter, .. } => {
                let (input, open_end) = io::pipe()?;
                let mut pipe = |stream| {
                    let (reader, writer) = io::pipe()?;
                    outputs.push((stream, reader));
                    Ok::<OwnedFd, io::Error>(writer.into())
                };
                let stdio = [input.into(), pipe(Stream::Stdout)?, pipe(Stream::Stderr)?];
                let log = Log::append(&folder)?;
                let reporter = mem::replace(reporter, Reporter::nobody());
                (stdio, Some(log), reporter, Some(open_end))
            }
        };
        let is_kept = matches!(self.output, Output::Log { .. });
        let lock = is_kept.then(|| held.lock.as_fd().try_clone_to_owned());
        let watch = Watch(Arc::new(Watched {
            machines: self.machines.try_clone()?,
            record: held.machine.record.clone(),
            folder,
            state: Mutex::new(held.machine.state.clone()),
            is_over: AtomicBool::new(false),
            stop_signal: spec.stop_signal.number(),
            is_supervised: AtomicBool::new(is_supervised),
            readers: AtomicUsize::new(0),
            lock: lock.transpose()?,
            audience: Mutex::default(),
            log,
            stdin,
            outputs: Mutex::new(outputs),
            writers: Mutex::default(),
            reporter: Mutex::new(reporter),
            plugs: Mutex::default(),
        }));
        self.watch = Some(watch.clone());
        Ok((stdio, watch))
    }

    fn is_supervised(&self) -> bool {
        match (&self.watch, &self.output) {
            // Somebody may have come to be there, or have gone.
            (Some(Watch(watched)), _) => watched.is_supervised.load(Ordering::Relaxed),
            (None, Output::Log { is_supervised, .. }) => *is_supervised,
            (None, Output::Own) => false,
        }
    }

    /// Writes how it ended, and removes the machine where that was asked.
    pub fn end(self, result: &Result<Outcome, Error>) {
        // From here on this thread alone writes the state.
        let finished = self.watch.as_ref().map(Watch::finish);
        let is_supervised = self.is_supervised();
        let Some(held) = self.held else { return };
        let lifecycle = held.machine.record.lifecycle().clone();
        let mut state = finished.unwrap_or_else(|| held.machine.state.clone());
        let ran = state.status.is_up();
        let seats = mem::take(&mut state.seats);
        let status = describe_end(&mut state, result, ran);
        let again = is_supervised && ran && !state.stopping;
        if again && held.restart().applies(status, state.restarts) {
            state.status = Status::Restarting;
        }
        if ran {
            let code = status.to_string();
            let record = held.record();
            self.machines.note(&record, "die", &[("exitCode", &code)]);
        }
        if let Some(watch) = &self.watch {
            seats
                .iter()
                .for_each(|seat| watch.note_network("disconnect", seat));
        }
        if !is_supervised {
            Control::close(&held.machine.folder);
        }
        // A state that cannot be written says "running", and the lock that nobody lives.
        let _written = match lifecycle.remove {
            true => self.machines.remove(&held),
            false => held.machine.folder.write_state(&state),
        };
        let Some(Watch(watched)) = &self.watch else {
            if let (Output::Log { mut reporter, .. }, Err(error)) = (self.output, result) {
                reporter.tell(&Verdict::failed(error));
            }
            return;
        };
        if let Err(error) = result {
            lock(&watched.reporter).tell(&Verdict::failed(error));
        }
        if let (false, Some(audience)) = (is_supervised, &*lock(&watched.audience)) {
            audience.tell_the_end(status);
        }
    }
}

/// Fills in how a run ended, and gives its status. `ran` says whether its workload started.
fn describe_end(state: &mut State, result: &Result<Outcome, Error>, ran: bool) -> u8 {
    let status = match result {
        Ok(outcome) => {
            if outcome.timed_out {
                "its workload ran longer than --timeout".clone_into(&mut state.error);
            }
            outcome.exit.status()
        }
        Err(error) => {
            state.error = sentence(error);
            error.status()
        }
    };
    // As docker: what never started stays as it was.
    if ran {
        state.status = Status::Exited;
        state.finished = time::now();
    }
    state.exit_code = status;
    state.pid = 0;
    state.ports.clear();
    status
}

impl Watch {
    /// Notes which ports of the host's lead to the machine, and where it is on networks.
    pub fn publish(&self, ports: Vec<Published>, seats: Vec<Seat>) {
        seats
            .iter()
            .for_each(|seat| self.note_network("connect", seat));
        let mut state = lock(&self.0.state);
        state.ports = ports;
        state.seats = seats;
    }

    /// What is known of the machine by now.
    pub(super) fn machine(&self) -> Result<Machine, Error> {
        let id = &self.0.record.id;
        let found = self.0.machines.machine(id)?;
        found.ok_or(Error::Unregistered)
    }

    /// Makes the machine reachable.
    pub fn listen(&self, reached: Arc<Reached>, plugs: Plugs) -> io::Result<()> {
        *lock(&self.0.plugs) = plugs.clone();
        let control = Control::open(&self.0.folder)?;
        let audience = control.serve(Callers::new(self.clone(), reached, plugs))?;
        *lock(&self.0.audience) = Some(audience);
        Ok(())
    }

    /// The workload has started.
    pub fn start(&self) {
        let watched = &self.0;
        if let Some(log) = &watched.log {
            let followed = mem::take(&mut *lock(&watched.outputs))
                .into_iter()
                .map(|(stream, reader)| log.follow(stream, reader));
            // Without a thread the output is lost, and the pipe's closed end says so to the workload.
            lock(&watched.writers).extend(followed.flatten());
        }
        // A machine that is not seen to run can still be reached by its lock.
        self.change(|state| {
            state.status = Status::Running;
            state.pid = process::id();
            state.started = time::now();
            state.error.clear();
        });
        watched.machines.note(&watched.record, "start", &[]);
        lock(&watched.reporter).tell(&Verdict::Started);
    }

    /// Writes down what happened to the machine.
    pub(super) fn note(&self, action: &str, more: &[(&str, &str)]) {
        let Watched {
            machines,
            record,
            folder,
            ..
        } = &*self.0;
        machines.note(&folder.record_now(record), action, more);
    }

    /// Changes the state and writes it, unless its end is being written: two writers would spoil the file.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.0.state);
        change(&mut state);
        if !self.0.is_over.load(Ordering::Relaxed) {
            // It counts here in any case; the file is for others.
            let _unseen = self.0.folder.write_state(&state);
        }
    }

    /// Writes down whether its workload is well.
    pub(super) fn note_health(&self, health: &Health) {
        self.change(|state| state.health = Some(health.clone()));
    }

    /// Changes what runs as `update` says, and what is kept of it; else why not, as a sentence.
    pub(super) fn update(&self, update: &Update, reached: &Reached) -> Result<(), String> {
        let watched = &self.0;
        if !lock(&watched.state).status.is_up() {
            return Err("it is starting; try again in a moment".to_owned());
        }
        let request = watched.machines.request(&watched.folder);
        let request = request.map_err(|error| sentence(&error))?;
        let change = update.read(&request).map_err(|error| error.to_string())?;
        let is_supervised = watched.is_supervised.load(Ordering::Relaxed);
        if !is_supervised && change.restart.is_some_and(needs_supervisor) {
            let text = "--restart: who was to start it again is gone; try again";
            return Err(text.to_owned());
        }
        reached.adjust(&change)?;
        let kept = watched.machines.amend(&watched.folder, update);
        kept.map(drop).map_err(|error| sentence(&error))
    }

    /// Somebody is there from now on to start it again, for whom this is the machine's lock; `None` where somebody was. Else
    /// why nobody can, as the rest of a sentence about the keeper.
    pub(super) fn appoint(&self) -> Result<Option<BorrowedFd<'_>>, &'static str> {
        let watched = &self.0;
        let Some(lock_of_it) = &watched.lock else {
            return Err("has it in the foreground, and starts nothing again; run it with -d");
        };
        let _state = lock(&watched.state);
        if watched.is_over.load(Ordering::Relaxed) {
            return Err("sees it end at this moment");
        }
        let was = watched.is_supervised.swap(true, Ordering::Relaxed);
        Ok((!was).then(|| lock_of_it.as_fd()))
    }

    /// Nobody is there any more.
    pub(super) fn dismiss(&self) {
        self.0.is_supervised.store(false, Ordering::Relaxed);
    }

    /// Where what is typed for the workload goes; none where it has the streams of this process.
    pub(super) fn stdin(&self) -> io::Result<Option<PipeWriter>> {
        self.0.stdin.as_ref().map(PipeWriter::try_clone).transpose()
    }

    /// Whether the machine is halted.
    pub(super) fn is_paused(&self) -> bool {
        lock(&self.0.state).status == Status::Paused
    }

    /// Whether somebody has it stand still and reads it.
    pub(super) fn is_read(&self) -> bool {
        self.0.readers.load(Ordering::Relaxed) > 0
    }

    /// Somebody does so from now on.
    pub(super) fn begin_reading(&self) -> Reading {
        self.0.readers.fetch_add(1, Ordering::Relaxed);
        Reading(self.clone())
    }

    /// It is halted from now on, or goes on.
    pub(super) fn note_pause(&self, paused: bool) {
        self.change(|state| {
            state.status = match paused {
                true => Status::Paused,
                false => Status::Running,
            };
        });
    }

    /// It has this place on a network from now on.
    pub(super) fn note_join(&self, seat: Seat) {
        self.note_network("connect", &seat);
        self.change(|state| state.seats.push(seat));
    }

    /// It has none there any more.
    pub(super) fn note_leave(&self, network: &str) {
        let is_left = |seat: &mut Seat| seat.network == network;
        self.change(|state| {
            let left = state.seats.extract_if(.., is_left);
            left.for_each(|seat| self.note_network("disconnect", &seat));
        });
    }

    /// It has a place on a network again, which it had lost.
    pub(super) fn note_return(&self, seat: Seat) {
        self.note_network("connect", &seat);
        self.change(|state| {
            let mut seats = state.seats.iter_mut();
            if let Some(lost) = seats.find(|lost| lost.network == seat.network) {
                *lost = seat;
            }
        });
    }

    /// Writes down what happened to a network because of the machine.
    pub(super) fn note_network(&self, action: &str, seat: &Seat) {
        let network = (&*seat.id, &*seat.network);
        let Watched {
            machines, record, ..
        } = &*self.0;
        machines.note_network(network, action, Some(&record.id));
    }

    /// Whether `number` is meant to end the machine: then it is not started again.
    pub(super) fn note_end(&self, number: u8) -> bool {
        if number != Signal::KILL.number() && number != self.0.stop_signal {
            return false;
        }
        self.change(|state| state.stopping = true);
        true
    }

    /// Waits until the log has everything; gives the state so far.
    fn finish(&self) -> State {
        lock(&self.0.plugs).leave_all();
        lock(&self.0.outputs).clear();
        for writer in mem::take(&mut *lock(&self.0.writers)) {
            // A panic there has been told already.
            let _told = writer.join();
        }
        let noted = lock(&self.0.state);
        self.0.is_over.store(true, Ordering::Relaxed);
        let mut state = noted.clone();
        drop(noted);
        match self.0.log.as_ref().map_or(0, Log::lost) {
            0 => {}
            lost => {
                state.error =
                    format!("{lost} bytes of its output are lost: the disk did not take them")
            }
        }
        state
    }
}

/// Makes the machine of a request, on its own.
pub(super) fn register(
    machines: &Machines,
    id: &Id,
    reference: &str,
    request: RunRequest,
    (image, spec): (&Image, &RunSpec),
) -> Result<Held, Error> {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let process = &spec.process;
    let wanted = request.name.clone();
    let id_file = request.lifecycle.id_file.clone();
    let held = machines.create(id.clone(), wanted.as_deref(), |name| Record {
        id: id.clone(),
        name,
        created: time::now(),
        image: reference.to_owned(),
        image_id: image.id.to_string(),
        resolved: Resolved {
            command: process.argv.iter().map(text).collect(),
            env: process.env.iter().map(text).collect(),
            workdir: text(&process.cwd),
            user: text(&process.user),
            hostname: spec.hostname.clone(),
            memory: spec.memory,
            cpus: spec.cpus,
            stop_signal: spec.stop_signal.number(),
        },
        request,
    })?;
    if let Some(path) = id_file
        && let Err(source) = write_new(&path, id.long())
    {
        machines.remove(&held)?;
        return Err(Error::IdFile { path, source });
    }
    Ok(held)
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    File::create_new(path)?.write_all(text.as_bytes())
}

/// Whether a machine of this policy needs somebody who outlives its runs.
pub(super) fn needs_supervisor(restart: Restart) -> bool {
    restart != Restart::No
}

/// This process's own streams.
fn own_streams() -> io::Result<[OwnedFd; 3]> {
    Ok([
        io::stdin().as_fd().try_clone_to_owned()?,
        io::stdout().as_fd().try_clone_to_owned()?,
        io::stderr().as_fd().try_clone_to_owned()?,
    ])
}
