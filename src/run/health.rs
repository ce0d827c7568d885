//! Checks whether a machine's workload is well, as often as was asked, by a command beside it.
//!
//! ```text
//!  starting ──▶ healthy ◀─▶ unhealthy     one success makes it healthy, some failures in a row unhealthy
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use husk_init::job::Process;

use super::life::Watch;
use super::reached::Reached;
use crate::machines::{Checked, Health, Wellness};
use crate::sessions::{Answer, Refusal, Stdio};
use crate::spec::sentence::describe;
use crate::spec::{HealthCheck, Signal, time};

/// Bytes of a check's output that are kept, as docker.
const KEPT: u64 = 4096;

/// The exit code of a check that had none.
const NO_CODE: i32 = -1;

/// Checks on a thread of its own, from the start of the workload, which is `process`, to its end.
pub fn watch(
    check: HealthCheck,
    process: &Process,
    reached: Arc<Reached>,
    watch: Watch,
) -> io::Result<()> {
    let (sender, workload) = channel();
    reached.attend(sender);
    let process = Process {
        argv: check
            .command
            .iter()
            .map(|word| word.clone().into_bytes())
            .collect(),
        stdin: false,
        terminal: None,
        ..process.clone()
    };
    let nurse = Nurse {
        check,
        process,
        reached,
        watch,
        health: Health::default(),
    };
    let thread = thread::Builder::new().name("health".to_owned());
    thread.spawn(move || nurse.tend(&workload))?;
    Ok(())
}

struct Nurse {
    check: HealthCheck,
    process: Process,
    reached: Arc<Reached>,
    watch: Watch,
    health: Health,
}

impl Nurse {
    fn tend(mut self, workload: &Receiver<Answer>) {
        if !matches!(workload.recv(), Ok(Answer::Started)) {
            return;
        }
        let begun = Instant::now();
        self.watch.note_health(&self.health);
        loop {
            let starts = self.health.status == Wellness::Starting
                && begun.elapsed() < self.check.start_period;
            let wait = match starts {
                true => self.check.start_interval,
                false => self.check.interval,
            };
            match workload.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                // Its end.
                _ => return,
            }
            if self.watch.is_paused() || self.watch.is_read() {
                continue;
            }
            let Some(checked) = self.check_once() else {
                return;
            };
            let before = self.health.status;
            let forgiven =
                before == Wellness::Starting && begun.elapsed() < self.check.start_period;
            self.health.take(checked, self.check.retries, forgiven);
            self.watch.note_health(&self.health);
            if self.health.status != before {
                self.watch
                    .note(&format!("health_status: {}", self.health.status), &[]);
            }
        }
    }

    /// One check; `None` when there is nobody to check any more.
    fn check_once(&self) -> Option<Checked> {
        let start = time::now();
        let done = |exit_code, output| {
            Some(Checked {
                start,
                end: time::now(),
                exit_code,
                output,
            })
        };
        let (stdio, said) = match streams() {
            Ok(streams) => streams,
            Err(error) => {
                return done(
                    NO_CODE,
                    format!("this host cannot carry its output: {error}"),
                );
            }
        };
        let (sender, answers) = channel();
        let session = match self.reached.exec(self.process.clone(), stdio, sender) {
            Ok(session) => session,
            Err(why) => return done(NO_CODE, format!("the keeper {why}")),
        };
        let deadline = Instant::now() + self.check.timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left) {
                Ok(Answer::Started) => {}
                Ok(Answer::Exited(exit)) => return done(exit.status().into(), read(said)),
                Ok(Answer::Failed(failure)) => {
                    let text = describe(&failure, self.reached.place());
                    return done(failure.status().into(), text);
                }
                Ok(Answer::Refused(Refusal::Over)) => return None,
                Ok(Answer::Refused(why)) => return done(NO_CODE, why.to_string()),
                Ok(Answer::Lost) | Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    self.reached.signal(session, Signal::KILL);
                    self.reached.forsake(session);
                    let limit = self.check.timeout.as_secs_f64();
                    return done(NO_CODE, format!("Health check exceeded timeout ({limit}s)"));
                }
            }
        }
    }
}

/// Streams for a check, and where its output arrives, as far as it is kept.
fn streams() -> io::Result<(Stdio, Receiver<Vec<u8>>)> {
    let (output, input) = io::pipe()?;
    let stdio = Stdio {
        stdin: File::open("/dev/null")?.into(),
        stdout: input.try_clone()?.into(),
        stderr: input.into(),
    };
    let (sender, said) = channel();
    let reader = thread::Builder::new().name("health".to_owned());
    reader.spawn(move || {
        let mut output = output;
        let mut kept = Vec::new();
        let _read = output.by_ref().take(KEPT).read_to_end(&mut kept);
        // Who asked may not wait any longer.
        let _gone = sender.send(kept);
        // The rest is nobody's, and the check is not to stop at a full pipe.
        let _dropped = io::copy(&mut output, &mut io::sink());
    })?;
    Ok((stdio, said))
}

fn read(said: Receiver<Vec<u8>>) -> String {
    // It has ended, and its output has arrived.
    let bytes = said
        .recv_timeout(Duration::from_secs(1))
        .unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
