//! A command line of husk's own, timed from outside: what a user of it would wait for.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

use super::error::Error;
use super::interrupt::Interrupt;
use super::report::StartSample;

/// Most of an output that is kept; the rest is read and dropped.
const KEPT: usize = 64 << 10;

/// How long a run that was asked to end may take to.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);

/// One of the walls: a name, and what `husk run` is told to be behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wall {
    /// Its name in the report.
    pub name: String,
    /// Words of the command line.
    pub words: Vec<OsString>,
}

/// What runs behind every wall.
#[derive(Debug, Clone, Default)]
pub struct Workload {
    /// Words of `husk run` that bound what it may use.
    pub limits: Vec<OsString>,
    /// The other ones: environment, user, names.
    pub words: Vec<OsString>,
    /// The image.
    pub image: String,
    /// The command; empty for the image's own.
    pub command: Vec<OsString>,
}

/// One run, seen from outside.
#[derive(Debug)]
pub struct Timed {
    /// From the execution of the command line to the first byte of its stdout.
    pub first_byte: Option<Duration>,
    /// To its end.
    pub exit: Duration,
    /// How it ended.
    pub status: ExitStatus,
    /// Its stdout, the first of it.
    pub stdout: Vec<u8>,
    /// Its stderr, the first of it.
    pub stderr: Vec<u8>,
    /// What it says of itself (`husk run --json`).
    pub document: Option<Value>,
}

/// Where runs leave what they say of themselves.
#[derive(Debug)]
pub struct Desk {
    folder: PathBuf,
}

impl Desk {
    /// A new one, among the temporary files: nobody's but this process's.
    pub fn new() -> io::Result<Self> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let name = format!("husk-compare-{:016x}", u64::from_ne_bytes(bytes));
        let folder = env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    fn document(&self) -> PathBuf {
        self.folder.join("run.json")
    }

    /// The word that has `husk run` leave here what it says of itself.
    pub fn json_word(&self) -> OsString {
        let mut word = OsString::from("--json=");
        word.push(self.document());
        word
    }

    /// Leaves something, as a run does.
    pub(super) fn leave(&self, words: &[u8]) -> io::Result<()> {
        fs::write(self.document(), words)
    }

    /// Takes what the last run left; nothing where it left none.
    pub fn take(&self) -> Option<Value> {
        let text = fs::read(self.document()).ok()?;
        // Gone already is as good as taken.
        let _gone = fs::remove_file(self.document());
        serde_json::from_slice(&text).ok()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // What is left of it is empty, or somebody else's.
        let _left = fs::remove_file(self.document());
        let _left = fs::remove_dir(&self.folder);
    }
}

/// `husk run` of `workload` behind `wall`, with more words before the image.
pub fn command(wall: &Wall, workload: &Workload, more: &[&OsStr]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    // What is compared leaves nothing to list.
    command.arg0("husk").args(["run", "--rm"]);
    command.args(&wall.words).args(&workload.limits);
    command.args(&workload.words).args(more);
    command.arg(&workload.image).args(&workload.command);
    // What the terminal sends is for the comparison, which then ends its runs.
    command.process_group(0);
    command
}

/// Runs `workload` behind `wall`, and times it.
pub fn time(
    wall: &Wall,
    workload: &Workload,
    desk: &Desk,
    interrupt: &Interrupt,
) -> Result<Timed, Error> {
    let json = desk.json_word();
    let timed = watch(command(wall, workload, &[&json]), interrupt)?;
    Ok(Timed {
        document: desk.take(),
        ..timed
    })
}

/// Runs `command`, and times it.
pub fn watch(mut command: Command, interrupt: &Interrupt) -> Result<Timed, Error> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let begun = Instant::now();
    let child = command.spawn().map_err(Error::Harness)?;
    let mut watched = Watched::of(child).map_err(Error::Harness)?;
    let ended = loop {
        if interrupt.is_requested() {
            ask_to_end(&mut watched.child);
            return Err(Error::Interrupted);
        }
        if let Some(ended) = watched.wait().map_err(Error::Harness)? {
            break ended;
        }
    };
    let status = watched.child.wait().map_err(Error::Harness)?;
    watched.drain(ended).map_err(Error::Harness)?;
    let [stdout, stderr] = mem::take(&mut watched.outputs);
    Ok(Timed {
        first_byte: stdout.first.map(|at| at - begun),
        exit: ended - begun,
        status,
        stdout: stdout.kept,
        stderr: stderr.kept,
        document: None,
    })
}

impl Timed {
    /// Docker's number for how it ended.
    pub fn status_code(&self) -> i32 {
        status_code(self.status)
    }

    /// The last line that it said about a failure.
    pub fn last_line(&self) -> String {
        last_line(&self.stderr)
    }

    /// As a sample of starts.
    pub fn sample(&self) -> StartSample {
        let phases = self
            .document
            .as_ref()
            .and_then(|json| json["phases_ms"].as_object());
        let phases = phases.into_iter().flatten();
        StartSample {
            first_byte_ms: self.first_byte.map(milliseconds),
            exit_ms: milliseconds(self.exit),
            phases_ms: phases
                .filter_map(|(name, length)| Some((name.clone(), length.as_f64()?)))
                .collect(),
        }
    }
}

/// Docker's number for how a process ended.
pub fn status_code(status: ExitStatus) -> i32 {
    let signal = status.signal().map(|number| 128 + number);
    status.code().or(signal).unwrap_or(-1)
}

/// The last line of a run's stderr that says something, without husk's name.
pub fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or_default();
    line.trim_start_matches("husk: ").to_owned()
}

/// Milliseconds, to the microsecond.
pub fn milliseconds(length: Duration) -> f64 {
    (length.as_secs_f64() * 1e6).round() / 1e3
}

/// A run that is watched; ended when it is let go of.
struct Watched {
    child: Child,
    pidfd: OwnedFd,
    outputs: [Output; 2],
}

/// One of its outputs.
#[derive(Default)]
struct Output {
    /// Nothing at its end.
    from: Option<File>,
    first: Option<Instant>,
    kept: Vec<u8>,
}

impl Output {
    fn of(pipe: Option<impl Into<OwnedFd>>) -> Self {
        Self {
            from: pipe.map(|pipe| File::from(pipe.into())),
            first: None,
            kept: Vec::new(),
        }
    }

    /// Takes what is there, and was there at `now`.
    fn take(&mut self, now: Instant) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        let Some(from) = &mut self.from else {
            return Ok(());
        };
        let count = from.read(&mut chunk)?;
        if count == 0 {
            self.from = None;
        } else {
            self.first.get_or_insert(now);
        }
        let room = KEPT.saturating_sub(self.kept.len()).min(count);
        self.kept.extend_from_slice(&chunk[..room]);
        Ok(())
    }
}

impl Watched {
    fn of(mut child: Child) -> io::Result<Self> {
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        let outputs = [
            Output::of(child.stdout.take()),
            Output::of(child.stderr.take()),
        ];
        Ok(Self {
            child,
            pidfd,
            outputs,
        })
    }

    /// Waits for something to happen, but not for long; when it ended, if it did.
    fn wait(&mut self) -> io::Result<Option<Instant>> {
        /// How soon an interrupt is noticed.
        const GLANCE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let mut entries = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        let open = self
            .outputs
            .iter()
            .filter_map(|output| output.from.as_ref());
        entries.extend(open.map(|from| PollFd::new(from, PollFlags::IN)));
        match poll(&mut entries, Some(&GLANCE)) {
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        // One moment for both: a byte that came with the end came no later.
        let now = Instant::now();
        let ready = entries.iter().map(|entry| !entry.revents().is_empty());
        let ready: Vec<bool> = ready.collect();
        let open = self
            .outputs
            .iter_mut()
            .filter(|output| output.from.is_some());
        for (output, _) in open.zip(&ready[1..]).filter(|(_, ready)| **ready) {
            output.take(now)?;
        }
        Ok(ready[0].then_some(now))
    }

    /// Takes what is left; whoever holds the pipes still, beyond the run's end, is not waited for.
    fn drain(&mut self, ended: Instant) -> io::Result<()> {
        for output in &mut self.outputs {
            while let Some(from) = &output.from {
                let mut entry = [PollFd::new(from, PollFlags::IN)];
                let none = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                if poll(&mut entry, Some(&none))? == 0 {
                    break;
                }
                output.take(ended)?;
            }
        }
        Ok(())
    }
}

/// Asks a run to end, and waits; one that does not is killed.
pub fn ask_to_end(child: &mut Child) {
    // SIGTERM first: the wall is taken down in order. Already dead is what we want.
    let _dead = kill_process(Pid::from_child(child), Signal::TERM);
    let begun = Instant::now();
    while begun.elapsed() < FAREWELL {
        match child.try_wait() {
            Ok(None) => sleep(Duration::from_millis(5)),
            _ => return,
        }
    }
    let _dead = child.kill();
    let _buried = child.wait();
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Ended and buried already, if all is well.
        let _dead = self.child.kill();
        let _buried = self.child.wait();
    }
}
