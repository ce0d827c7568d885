//! Counts the system calls of a command and of everything that it starts.
//!
//! ```text
//!  caller's thread      waits, and kicks the tracer when time is up
//!  thread `tracer`      spawns the command, and is told of each of its calls (ptrace(2))
//! ```
//!
//! A thread of its own, because ptrace and wait are a thread's: the caller's other children are none
//! of the tracer's. When the tracer ends, however that is, the kernel kills what it still follows.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use libc::pid_t;
use vmm_sys_util::signal::{Killable, register_signal_handler};

use super::ptrace::{self, Call, Event};

/// Which real-time signal interrupts the tracer, counted from the first.
const KICK: libc::c_int = 0;

/// How often a tracer whose time is up is reminded: a kick between two waits is lost.
const REMINDER: Duration = Duration::from_millis(50);

/// How long killed processes may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(10);

/// What a command did, until it and everything it started had ended.
#[derive(Debug, Clone)]
pub struct Traced {
    /// The command's own end.
    pub status: ExitStatus,
    /// Every program that ran, in the order in which they were first seen.
    pub programs: Vec<Program>,
}

/// The calls of one process from its start, or its exec, to its end, or its next exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its process, as the tracer numbers it.
    pub pid: u32,
    /// What it calls itself (argv\[0\]); that of its parent until it executes another one.
    pub arg0: OsString,
    /// Whether it is in another PID namespace than the tracer: inside a container.
    pub contained: bool,
    /// Its calls.
    pub counts: Counts,
}

/// System calls, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls by number, of 64-bit mode.
    pub calls: BTreeMap<u64, u64>,
    /// Of those, ioctls by request.
    pub ioctls: BTreeMap<u32, u64>,
    /// Calls of 32-bit mode.
    pub compat_calls: u64,
}

impl Traced {
    /// The calls of all programs that are `meant`, added up: the machine's, those in the container.
    pub fn sum(&self, meant: impl Fn(&Program) -> bool) -> Counts {
        let mut sum = Counts::default();
        for Program { counts, .. } in self.programs.iter().filter(|program| meant(program)) {
            for (number, count) in &counts.calls {
                *sum.calls.entry(*number).or_default() += count;
            }
            for (request, count) in &counts.ioctls {
                *sum.ioctls.entry(*request).or_default() += count;
            }
            sum.compat_calls += counts.compat_calls;
        }
        sum
    }
}

/// Runs `command` and counts. Its streams must not be `Stdio::piped()`: nobody would be at the other end.
///
/// Fails by `TimedOut` after `limit`, with everything killed. A program that gains privileges by
/// its file (set-user-ID) does not gain them while a tracer without CAP_SYS_PTRACE follows it.
pub fn trace(command: Command, limit: Duration) -> io::Result<Traced> {
    // All that the signal is for is to interrupt a wait.
    register_signal_handler(libc::SIGRTMIN() + KICK, ignore)?;
    let deadline = Instant::now() + limit;
    let (told, result) = channel();
    let tracer = thread::Builder::new()
        .name("tracer".to_owned())
        .spawn(move || {
            // Whoever asked waits for it.
            let _heard = told.send(follow(command, deadline));
        })?;
    let mut wait = limit;
    loop {
        match result.recv_timeout(wait) {
            Ok(traced) => return traced,
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
            Err(RecvTimeoutError::Timeout) => {
                wait = REMINDER;
                // If it has ended meanwhile, its result is there.
                let _ended = tracer.kill(libc::SIGRTMIN() + KICK);
            }
        }
    }
}

extern "C" fn ignore(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// The tracer's thread.
fn follow(command: Command, deadline: Instant) -> io::Result<Traced> {
    let root = ptrace::spawn(command)?;
    let mut tracer = Tracer::new(root)?;
    let mut expired = false;
    loop {
        if !expired && Instant::now() >= deadline {
            expired = true;
            tracer.threads.keys().for_each(|pid| ptrace::kill(*pid));
        }
        if expired && Instant::now() >= deadline + LAST_BREATH {
            break;
        }
        match ptrace::wait() {
            Ok(Some((pid, event))) => {
                let new = !tracer.threads.contains_key(&pid);
                tracer.take(pid, event);
                if expired && new && !matches!(event, Event::Ended(_)) {
                    ptrace::kill(pid);
                }
            }
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    match (expired, tracer.status) {
        (true, _) => Err(io::ErrorKind::TimedOut.into()),
        (_, None) => Err(io::ErrorKind::NotFound.into()),
        (_, Some(status)) => Ok(Traced {
            status: ExitStatus::from_raw(status),
            programs: tracer.programs,
        }),
    }
}

/// What is known about everything that is followed.
struct Tracer {
    root: pid_t,
    /// Our own PID namespace.
    namespace: PathBuf,
    /// The place in `programs` of each thread.
    threads: HashMap<pid_t, usize>,
    programs: Vec<Program>,
    status: Option<i32>,
}

impl Tracer {
    fn new(root: pid_t) -> io::Result<Self> {
        let mut tracer = Self {
            root,
            namespace: fs::read_link("/proc/thread-self/ns/pid")?,
            threads: HashMap::new(),
            programs: Vec::new(),
            status: None,
        };
        tracer.meet(root);
        // The command's own exec, which is over, is the first call that it costs.
        let execve = libc::SYS_execve.unsigned_abs();
        tracer.programs[0].counts.calls.insert(execve, 1);
        Ok(tracer)
    }

    /// Takes one event of one thread, and lets the thread go on.
    fn take(&mut self, pid: pid_t, event: Event) {
        if let Event::Ended(status) = event {
            self.threads.remove(&pid);
            if pid == self.root {
                self.status = Some(status);
            }
            return;
        }
        let place = match self.threads.get(&pid) {
            Some(place) => *place,
            None => self.meet(pid),
        };
        // A thread that another one kills meanwhile is no longer there to be asked, nor to go on;
        // its end comes as an event.
        let _gone = match event {
            Event::Call => self.count(place, pid).and_then(|()| ptrace::resume(pid, 0)),
            Event::Executed => self.execute(pid).and_then(|()| ptrace::resume(pid, 0)),
            Event::Signalled(signal) => ptrace::resume(pid, signal),
            Event::Stopped => ptrace::leave_stopped(pid),
            Event::Started | Event::Ended(_) => ptrace::resume(pid, 0),
        };
    }

    fn count(&mut self, place: usize, pid: pid_t) -> io::Result<()> {
        let Some(Call { number, second }) = ptrace::entered(pid)? else {
            return Ok(());
        };
        let counts = &mut self.programs[place].counts;
        let Some(number) = number else {
            counts.compat_calls += 1;
            return Ok(());
        };
        *counts.calls.entry(number).or_default() += 1;
        if number == libc::SYS_ioctl.unsigned_abs() {
            // The kernel takes 32 bits of it.
            let request = u32::try_from(second & u64::from(u32::MAX)).unwrap_or_default();
            *counts.ioctls.entry(request).or_default() += 1;
        }
        Ok(())
    }

    /// A thread that is new: one of a process that is known, or of another one.
    fn meet(&mut self, pid: pid_t) -> usize {
        let process = thread_group(pid).unwrap_or(pid);
        let place = match self.threads.get(&process) {
            Some(place) => *place,
            None => self.begin(process),
        };
        self.threads.insert(process, place);
        self.threads.insert(pid, place);
        place
    }

    /// A program that is new.
    fn begin(&mut self, process: pid_t) -> usize {
        let namespace = fs::read_link(format!("/proc/{process}/ns/pid"));
        self.programs.push(Program {
            pid: process.unsigned_abs(),
            arg0: arg0(process),
            contained: namespace.is_ok_and(|namespace| namespace != self.namespace),
            counts: Counts::default(),
        });
        self.programs.len() - 1
    }

    /// A process executed another program: its threads are gone, and the one that did it is now
    /// its first.
    fn execute(&mut self, process: pid_t) -> io::Result<()> {
        self.threads.remove(&ptrace::former(process)?);
        let place = self.begin(process);
        self.threads.insert(process, place);
        Ok(())
    }
}

/// The process that a thread belongs to.
fn thread_group(pid: pid_t) -> Option<pid_t> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    group.trim().parse().ok()
}

/// What a process calls itself.
fn arg0(pid: pid_t) -> OsString {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    OsString::from_vec(first.to_vec())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Stdio;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn sum(traced: &Traced, number: libc::c_long) -> u64 {
        let calls = traced.sum(|_| true).calls;
        calls.get(&number.unsigned_abs()).copied().unwrap_or(0)
    }

    #[test]
    fn each_program_has_its_own_counts() {
        let traced = trace(shell("/bin/true; /bin/true; exit 7"), LIMIT).unwrap();
        assert_eq!(traced.status.code(), Some(7));
        let names: Vec<_> = traced
            .programs
            .iter()
            .map(|program| &program.arg0)
            .collect();
        assert_eq!(
            names,
            ["/bin/sh", "/bin/sh", "/bin/true", "/bin/sh", "/bin/true"]
        );
        assert_eq!(sum(&traced, libc::SYS_execve), 3);
        assert_eq!(sum(&traced, libc::SYS_exit_group), 3);
        assert!(traced.programs.iter().all(|program| !program.contained));
    }

    #[test]
    fn signals_go_where_they_were_sent() {
        let traced = trace(shell("kill -TERM $$"), LIMIT).unwrap();
        assert_eq!(traced.status.signal(), Some(libc::SIGTERM));
        let trapped = trace(shell("trap 'exit 3' USR1; kill -USR1 $$; exit 4"), LIMIT).unwrap();
        assert_eq!(trapped.status.code(), Some(3));
        let killed = trace(shell("sleep 60 & kill -KILL $!; wait $!"), LIMIT).unwrap();
        assert_eq!(killed.status.code(), Some(128 + libc::SIGKILL));
    }

    #[test]
    fn a_stopped_process_stays_stopped_until_it_is_continued() {
        let script = "sleep 0.1 & kill -STOP $!; sleep 0.5; \
                      grep -q '^State:.[tT]' /proc/$!/status || exit 9; kill -CONT $!; wait $!";
        assert_eq!(trace(shell(script), LIMIT).unwrap().status.code(), Some(0));
    }

    #[test]
    fn hundreds_of_processes_are_followed_to_their_ends() {
        let traced = trace(
            shell("for i in $(seq 300); do /bin/true & done; wait"),
            LIMIT,
        )
        .unwrap();
        assert_eq!(traced.status.code(), Some(0));
        let ended = traced
            .programs
            .iter()
            .filter(|program| program.arg0 == "/bin/true");
        assert_eq!(ended.count(), 300);
    }

    #[test]
    fn a_process_in_another_namespace_is_contained() {
        let mut command = Command::new("unshare");
        command.args(["--fork", "--pid", "/bin/true"]);
        let traced = trace(command, LIMIT).unwrap();
        if !traced.status.success() {
            eprintln!("not run: no PID namespace for us here");
            return;
        }
        let contained: Vec<_> = traced
            .programs
            .iter()
            .filter(|program| program.contained)
            .collect();
        assert_eq!(contained.last().unwrap().arg0, "/bin/true");
        assert!(!traced.programs[0].contained);
    }

    #[test]
    fn time_ends_and_nothing_is_left() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command = shell("echo $$; sleep 600 & echo $!; sleep 600");
        command.stdout(File::create(file.path()).unwrap());
        let error = trace(command, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        for pid in fs::read_to_string(file.path()).unwrap().lines() {
            // The host's init may not have asked for its end yet.
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let dead = status.is_empty() || status.contains("State:\tZ");
            assert!(dead, "{pid} is left: {status}");
        }
    }

    #[test]
    fn a_command_that_is_not_there_is_an_error() {
        let error = trace(Command::new("/no/such/program"), LIMIT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_exec_from_a_thread_is_followed() {
        let script = "import os, threading\n\
                      threading.Thread(target=lambda: os.execv('/bin/true', ['renamed'])).start()\n\
                      threading.Event().wait()";
        let mut command = Command::new("python3");
        command.args(["-c", script]);
        let Ok(traced) = trace(command, LIMIT) else {
            eprintln!("not run: there is no python3");
            return;
        };
        assert!(traced.status.success());
        assert_eq!(traced.programs.last().unwrap().arg0, "renamed");
    }

    #[test]
    fn strace_counts_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = "/bin/true; ls / | cat";
        let strace = Command::new("strace")
            .args(["-f", "-c", "-U", "calls,name", "-o"])
            .arg(file.path())
            .args(["/bin/sh", "-c", script])
            .stdout(Stdio::null())
            .status();
        if !strace.is_ok_and(|status| status.success()) {
            eprintln!("not run: there is no strace that counts");
            return;
        }
        let traced = trace(shell(script), LIMIT).unwrap();
        let theirs = fs::read_to_string(file.path()).unwrap();
        // It does not count calls that never return.
        let known = [
            ("openat", libc::SYS_openat),
            ("mmap", libc::SYS_mmap),
            ("read", libc::SYS_read),
            ("ioctl", libc::SYS_ioctl),
            ("execve", libc::SYS_execve),
        ];
        for (name, number) in known {
            let mut rows = theirs
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>());
            let row = rows.find(|row| row.last() == Some(&name));
            let counted = row.map_or(0, |row| row[0].parse().unwrap());
            assert_eq!(sum(&traced, number), counted, "{name} in {theirs}");
        }
    }
}
