//! A machine in the background: the same process as in the foreground, without the terminal.
//!
//! ```text
//!  husk run -d                          the keeper: husk's own binary, in a session of its own
//!    ├─ registers the machine, and has its lock
//!    ├─ starts the keeper, which gets the lock ─▶ ├─ runs it; the output goes to the log
//!    │ ◀── Missing…, then Started or Failed ──────┤
//!    └─ prints the ID                             ├─ writes the end
//!                                                 └─ with --restart: waits, and runs it again
//! ```
//!
//! A container's namespaces are those of the process that runs it, and so with `--restart` each run is a
//! process of its own, and the keeper waits for it. A machine that gets a policy while it runs gets somebody who
//! waits for it, too ([`super::heir`]).

use std::cell::Cell;
use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal as KernelSignal, set_parent_process_death_signal, setsid};
use serde::{Deserialize, Serialize};

use super::life::{Life, needs_supervisor, register};
use super::{Error, find, networks, run_once};
use crate::image::{Image, Store};
use crate::machines::{Control, Held, Id, Lock, Machines, Reply, Request, State, Status};
use crate::spec::sentence::sentence;
use crate::spec::{
    Backoff, Missing, OciRuntime, Restart, RunRequest, Signal, Wall, anchor_mount, anchor_volume,
    time,
};
use crate::sys::fork::{fork, keep_only};
use crate::timeline::Timeline;

/// The verb by which the binary becomes a keeper. Not for people.
pub const KEEPER_VERB: &str = "keeper";

/// What a keeper calls itself (`argv[0]`).
const KEEPER_NAME: &str = "husk-keeper";

/// What a keeper says to who started it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// This host does not give something that was asked for.
    Missing { text: String },
    /// The workload runs.
    Started,
    /// It does not.
    Failed { lines: Vec<String>, status: u8 },
}

impl Verdict {
    /// A failure, as the user will read it.
    pub(super) fn failed(error: &Error) -> Self {
        Self::Failed {
            lines: error.lines(),
            status: error.status(),
        }
    }
}

/// Where a keeper says it: once, to the end.
#[derive(Debug)]
pub struct Reporter(Option<File>);

impl Reporter {
    /// To who started this process, over its stdout.
    pub(super) fn stdout() -> io::Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self(Some(stdout.into())))
    }

    /// To nobody.
    pub(super) fn nobody() -> Self {
        Self(None)
    }

    /// What it is said by, if there is something.
    pub(super) fn file(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }

    /// Says it. Who waits may be gone.
    pub(super) fn tell(&mut self, verdict: &Verdict) {
        let Some(mut file) = self.0.take() else {
            return;
        };
        let line = serde_json::to_string(verdict).unwrap_or_default();
        let _gone = file.write_all(format!("{line}\n").as_bytes());
        if matches!(verdict, Verdict::Missing { .. }) {
            self.0 = Some(file);
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.as_ref().map(File::try_clone).transpose()?))
    }
}

/// The machines of this user.
pub fn machines() -> Result<Machines, Error> {
    Ok(Machines::open(&Store::default_path()?)?)
}

/// Makes the machine of `request`, and does not start it.
pub fn create(reference: &str, mut request: RunRequest) -> Result<Held, Error> {
    make_absolute(&mut request)?;
    networks::check(&request.networks)?;
    let id = Id::random()?;
    let kept = request.clone();
    let (_, image, spec) = find(reference, request, id.short(), &mut Timeline::start())?;
    register(
        &machines()?,
        &id,
        &name_of(reference, &image),
        kept,
        (&image, &spec),
    )
}

/// How the image is called in lists: an archive by what it contained.
fn name_of(reference: &str, image: &Image) -> String {
    match reference.contains(['/', '.']) {
        true => image
            .names
            .first()
            .map_or_else(|| reference.to_owned(), |name| name.familiar()),
        false => reference.to_owned(),
    }
}

/// A keeper's working directory is none of the user's, and neither is that in which a machine is started
/// again.
pub(super) fn make_absolute(request: &mut RunRequest) -> io::Result<()> {
    for path in [&mut request.kernel, &mut request.initrd]
        .into_iter()
        .flatten()
    {
        *path = path::absolute(&*path)?;
    }
    let mut places = request.volumes.iter().chain(&request.mounts);
    if places.any(|place| place.contains('.')) {
        let here = env::current_dir()?;
        // One that is no text cannot be part of what is typed.
        let here = here.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        let anchor = |text: &mut String, anchor: fn(&str, &str) -> String| {
            *text = anchor(text, here);
        };
        request
            .volumes
            .iter_mut()
            .for_each(|text| anchor(text, anchor_volume));
        request
            .mounts
            .iter_mut()
            .for_each(|text| anchor(text, anchor_mount));
    }
    if let Wall::Container(OciRuntime::Program(program)) = &mut request.wall
        && program.components().count() > 1
    {
        *program = path::absolute(&*program)?;
    }
    Ok(())
}

/// Starts the machine in the background, and waits until its workload has started. What the host does not
/// give and somebody asked for is told.
pub fn start(held: &Held, mut tell: impl FnMut(&Missing)) -> Result<(), Error> {
    let fresh = State {
        started: held.machine.state.started,
        finished: held.machine.state.finished,
        status: held.machine.state.status,
        ..State::default()
    };
    held.machine.folder.write_state(&fresh)?;
    let lock = held.lock.as_fd().try_clone_to_owned()?;
    let begun = spawn(KEEPER_VERB, &held.machine.record.id, Stdio::from(lock))?;
    hear(begun, |text| tell(&Missing { text, asked: true }))
}

/// Husk's own binary as a process of nobody's, which does `verb` for a machine; and what it says.
pub(super) fn spawn(verb: &str, id: &Id, stdin: Stdio) -> Result<(Child, PipeReader), Error> {
    let (report, theirs) = io::pipe()?;
    let home = path::absolute(Store::default_path()?)?;
    let begun = Command::new("/proc/self/exe")
        .arg0(KEEPER_NAME)
        .args([verb, id.long()])
        .env("HUSK_HOME", home)
        .current_dir("/")
        .stdin(stdin)
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::null())
        .spawn()?;
    Ok((begun, report))
}

/// Waits for what it says, to the end.
pub(super) fn hear(
    (mut keeper, report): (Child, PipeReader),
    mut tell: impl FnMut(String),
) -> Result<(), Error> {
    for line in BufReader::new(report).lines() {
        match serde_json::from_str(&line?).map_err(io::Error::from)? {
            Verdict::Missing { text } => tell(text),
            Verdict::Started => return Ok(()),
            Verdict::Failed { lines, status } => {
                // So that the machine's lock is free when its user reads why.
                let _gone = keeper.wait();
                return Err(Error::Kept { lines, status });
            }
        }
    }
    Err(Error::KeeperDied)
}

/// Becomes the keeper of the machine `id`, whose lock is stdin.
pub fn keep(id: &str) -> ExitCode {
    // It fails for who leads a group, and such a one is nobody's child.
    let _own_session = setsid();
    match take_over(id) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn take_over(id: &str) -> Result<(), Error> {
    let lock = Lock::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut reporter = Reporter::stdout()?;
    // What else a shell had open is not to stay open as long as the machine runs.
    keep_only(&[reporter.file(), vec![lock.as_fd()]].concat())?;
    let held = machines()
        .and_then(|machines| Ok(machines.adopt(id, lock)?))
        .inspect_err(|error| reporter.tell(&Verdict::failed(error)))?;
    match needs_supervisor(held.machine.record.lifecycle().restart) {
        false => run_kept(held, reporter, false),
        true => {
            let kept = supervise(&held, Some(reporter), Backoff::default());
            Control::close(&held.machine.folder);
            kept
        }
    }
}

/// One run of a machine whose lock is ours.
fn run_kept(held: Held, reporter: Reporter, is_supervised: bool) -> Result<(), Error> {
    let (image, request) = (
        held.machine.record.image_id.clone(),
        held.machine.record.request.clone(),
    );
    let mut warnings = reporter.try_clone()?;
    let tell = move |missing: &Missing| {
        if missing.asked {
            let text = missing.text.clone();
            warnings.tell(&Verdict::Missing { text });
        }
    };
    let mut life = Life::resume(machines()?, held, reporter, is_supervised);
    let result = run_once(&image, request, &mut life, tell);
    life.end(&result);
    result.map(drop)
}

/// Runs a machine again and again, as its policy says.
pub(super) fn supervise(
    held: &Held,
    mut reporter: Option<Reporter>,
    mut backoff: Backoff,
) -> Result<(), Error> {
    loop {
        let begun = Instant::now();
        let report = reporter.take().unwrap_or(Reporter::nobody());
        let child = fork(|| run_child(held, report))?;
        child.wait()?;
        if !goes_on(held, backoff.next(begun.elapsed()))? {
            return Ok(());
        }
    }
}

/// After a run, whether there is to be another one; then `wait` has passed.
pub(super) fn goes_on(held: &Held, wait: Duration) -> Result<bool, Error> {
    let folder = &held.machine.folder;
    let mut state = folder.state()?;
    if state.status.is_up() {
        // Killed before it could say how it ended.
        state = bury(held, state);
        folder.write_state(&state)?;
    }
    if state.status != Status::Restarting || pause(held, &mut state, Instant::now() + wait)? {
        return Ok(false);
    }
    state.restarts += 1;
    folder.write_state(&state)?;
    Ok(true)
}

/// One run, in a copy of the keeper. It ends with the keeper, but for a container of an ordinary user's,
/// which ends by itself.
fn run_child(held: &Held, reporter: Reporter) -> bool {
    let lock = held.lock.as_fd().try_clone_to_owned();
    let adopted = set_parent_process_death_signal(Some(KernelSignal::KILL))
        .map_err(io::Error::from)
        .and(lock)
        .map_err(Error::from)
        .and_then(|lock| Ok(machines()?.adopt(held.machine.record.id.long(), lock.into())?));
    adopted.is_ok_and(|held| run_kept(held, reporter, true).is_ok())
}

/// The state of a machine whose run was killed from outside.
fn bury(held: &Held, state: State) -> State {
    let exit_code = 128 + Signal::KILL.number();
    let policy = held.restart();
    let again = !state.stopping && policy.applies(exit_code, state.restarts);
    State {
        status: if again {
            Status::Restarting
        } else {
            Status::Exited
        },
        pid: 0,
        finished: time::now(),
        exit_code,
        ..state
    }
}

/// Waits until a machine is to be started again; whether somebody ended it meanwhile.
fn pause(held: &Held, state: &mut State, until: Instant) -> Result<bool, Error> {
    let mut control = Control::open(&held.machine.folder)?;
    let stop_signal = held.machine.record.resolved.stop_signal;
    let ended = Cell::new(false);
    let machines = machines()?;
    control.serve_until(
        until,
        |request, _files| match request {
            Request::Signal { number }
                if number == Signal::KILL.number() || number == stop_signal =>
            {
                ended.set(true);
                Reply::Done
            }
            Request::Update(update) => match machines.amend(&held.machine.folder, &update) {
                Ok(change) => {
                    ended.set(change.restart == Some(Restart::No));
                    Reply::Done
                }
                Err(error) => Reply::Refused {
                    text: sentence(&error),
                },
            },
            _ => Reply::Refused {
                text: "waits to start it again, and has nobody to give a signal".to_owned(),
            },
        },
        || ended.get(),
    )?;
    if ended.get() {
        state.status = Status::Exited;
        state.stopping = true;
        held.machine.folder.write_state(state)?;
    }
    Ok(ended.get())
}
