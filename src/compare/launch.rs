//! A command line of husk's own, timed from outside: what a user of it would wait for.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use super::error::Error;
use super::interrupt::Interrupt;
use super::report::StartSample;

/// Most of an output that is kept; the rest is read and dropped.
const KEPT: usize = 64 << 10;

/// How long a run that was asked to end may take to.
const FAREWELL: Duration = Duration::from_secs(5);

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
    /// A desk in `folder`, which is made.
    pub fn at(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
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
    command.arg0("husk").arg("run");
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
    while watched.exit.is_none() {
        if interrupt.is_requested() {
            watched.end();
            return Err(Error::Interrupted);
        }
        watched.wait().map_err(Error::Harness)?;
    }
    let status = watched.child.wait().map_err(Error::Harness)?;
    watched.drain().map_err(Error::Harness)?;
    let [stdout, stderr] = std::mem::take(&mut watched.outputs);
    Ok(Timed {
        first_byte: stdout.first.map(|at| at - begun),
        exit: watched
            .exit
            .map_or_else(|| begun.elapsed(), |at| at - begun),
        status,
        stdout: stdout.kept,
        stderr: stderr.kept,
        document: None,
    })
}

impl Timed {
    /// Docker's number for how it ended.
    pub fn status_code(&self) -> i32 {
        let signal = self.status.signal().map(|number| 128 + number);
        self.status.code().or(signal).unwrap_or(-1)
    }

    /// The last line that it said about a failure.
    pub fn last_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let line = text.lines().rev().find(|line| !line.trim().is_empty());
        line.unwrap_or_default()
            .trim_start_matches("husk: ")
            .to_owned()
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

/// Milliseconds, to the microsecond.
pub fn milliseconds(length: Duration) -> f64 {
    (length.as_secs_f64() * 1e6).round() / 1e3
}

/// A run that is watched; ended when it is let go of.
struct Watched {
    child: Child,
    pidfd: OwnedFd,
    outputs: [Output; 2],
    exit: Option<Instant>,
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
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let outputs = [
            Output::of(child.stdout.take()),
            Output::of(child.stderr.take()),
        ];
        Ok(Self {
            child,
            pidfd,
            outputs,
            exit: None,
        })
    }

    /// Waits for something to happen, and notes when it did.
    fn wait(&mut self) -> io::Result<()> {
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
        let mut ready = entries.iter().map(|entry| !entry.revents().is_empty());
        if ready.next() == Some(true) {
            self.exit = Some(now);
        }
        let ready: Vec<bool> = ready.collect();
        let open = self
            .outputs
            .iter_mut()
            .filter(|output| output.from.is_some());
        for (output, ready) in open.zip(ready) {
            if ready {
                output.take(now)?;
            }
        }
        Ok(())
    }

    /// Takes what is left; whoever holds the pipes still, beyond the run's end, is not waited for.
    fn drain(&mut self) -> io::Result<()> {
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
                output.take(self.exit.unwrap_or_else(Instant::now))?;
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        ask_to_end(&mut self.child);
    }
}

/// Asks a run to end, and waits; one that does not is killed.
pub fn ask_to_end(child: &mut Child) {
    // SIGINT first: the wall is taken down in order. Already dead is what we want.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _dead = rustix::process::kill_process(pid, rustix::process::Signal::INT);
    }
    let begun = Instant::now();
    while begun.elapsed() < FAREWELL {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            _ => return,
        }
    }
    let _dead = child.kill();
    let _buried = child.wait();
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.exit.is_none() {
            let _dead = self.child.kill();
            let _buried = self.child.wait();
        }
    }
}
