//! Measures the wall that this program runs behind, from the inside: what system calls, computing,
//! memory, files and sockets cost here. One JSON object per line and result:
//!
//! ```text
//! {"suite":"syscall","probe":"getpid","unit":"ns","better":"lower","value":123.4}
//! ```
//!
//! It is the same static program behind every wall, and needs nothing of the image: no shell, no
//! library, no file. Each probe runs until its time budget is over, and at least once, so that it
//! ends soon where a page fault takes 2 ms too. A probe that fails is one line on stderr, and the
//! others go on.
//!
//! Exit status: 0, or 1 when nothing could be measured, or 2 for words that are not understood.

mod args;
mod changes;
mod crowd;
mod measure;
mod report;
mod suites;
mod sys;
mod tamper;
mod verify;
mod wait;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, USAGE};
use report::Report;

/// The hidden word of the process that `syscall.fork_exec` starts.
const EXIT_AT_ONCE: &str = "--exit-at-once";

/// The hidden word of instances that idle.
const WAIT: &str = "--wait";

/// The hidden word of a command whose changes are looked for ([`changes`]).
const CHANGES: &str = "--changes";

/// The hidden word by which a folder is put to the test ([`verify`]).
const VERIFY: &str = "--verify";

/// The hidden words of tests ([`tamper`], [`crowd`]).
const TAMPER: &str = "--tamper";
const CROWD: &str = "--crowd";

fn main() -> ExitCode {
    let mut words = env::args_os();
    let called = words.next();
    match words.next() {
        Some(word) if word == EXIT_AT_ONCE => ExitCode::SUCCESS,
        Some(word) if word == CHANGES => changes::run(words),
        Some(word) if word == TAMPER => match tamper::is_refused(called, &mut io::stdout()) {
            Ok(true) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        },
        Some(word) if word == VERIFY => verify::run(words),
        Some(word) if word == CROWD => match crowd::run(words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // A closed stderr is no reason for another exit status.
                let _closed = writeln!(io::stderr(), "husk-probe: {error}");
                ExitCode::FAILURE
            }
        },
        Some(word) if word == WAIT => match wait::wait() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        _ => measure_all(),
    }
}

fn measure_all() -> ExitCode {
    let args = match Args::parse(env::args_os().skip(1)) {
        Ok(args) => args,
        Err(problem) => {
            // A closed stderr is no reason for another exit status.
            let _closed = writeln!(io::stderr(), "husk-probe: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut report = Report::new(io::stdout().lock(), io::stderr());
    for suite in &args.suites {
        suites::run(*suite, &args, &mut report);
    }
    if report.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
