//! What a command changes in the file system: two snapshots, and the command between them.
//!
//! It says so on its stderr, which is the command's too. The lines that are not the command's begin with
//! a token that the caller chose and the command does not know:
//!
//! ```text
//! TOKEN ready                           what stood before this line is somebody else's
//! …                                     the command's own
//!                                       a newline that is not the command's
//! TOKEN begin
//! {"path":"/tmp/new","change":"added","kind":"file","mode":420,…}
//! TOKEN end 3                           the command's exit status, and this program's
//! ```

mod content;
mod json;
mod reach;
mod snapshot;
mod workload;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use snapshot::{Snapshot, compare};
use workload::Workload;

/// A clock tick of the slowest kernel, and more. A change in the tick of the first snapshot could leave
/// the times of a file as they were.
const TICK: Duration = Duration::from_millis(20);

/// The status of words that are not understood.
const NOT_UNDERSTOOD: u8 = 2;

/// The status of a look that could not be taken.
const NOT_LOOKED: u8 = 125;

/// Runs the words after `TOKEN --`, and says what that changed.
pub fn run(words: impl Iterator<Item = OsString>) -> ExitCode {
    let mut words = words.map(OsString::into_vec);
    let (Some(token), Some(b"--")) = (words.next(), words.next().as_deref()) else {
        complain("--changes needs TOKEN -- COMMAND");
        return ExitCode::from(NOT_UNDERSTOOD);
    };
    let looked = look(&token, words.collect());
    let status = looked.unwrap_or_else(|error| {
        complain(&format!("cannot look for changes: {error}"));
        NOT_LOOKED
    });
    ExitCode::from(status)
}

fn look(token: &[u8], argv: Vec<Vec<u8>>) -> io::Result<u8> {
    let workload = Workload::prepare(argv)?;
    let before = Snapshot::take(b"/");
    thread::sleep(TICK);
    // Nobody who reads is no reason for another status.
    let _closed = say(&[token, b" ready\n"].concat());
    let status = workload.run()?;
    let after = Snapshot::take(b"/");
    let _closed = list(token, &before, &after, status);
    Ok(status)
}

fn list(token: &[u8], before: &Snapshot, after: &Snapshot, status: u8) -> io::Result<()> {
    let mut out = BufWriter::new(io::stderr().lock());
    out.write_all(&[b"\n", token, b" begin\n"].concat())?;
    compare(before, after, |change| json::write(&mut out, &change))?;
    out.write_all(token)?;
    writeln!(out, " end {status}")?;
    out.flush()
}

fn say(words: &[u8]) -> io::Result<()> {
    io::stderr().write_all(words)
}

fn complain(line: &str) {
    let _closed = say(format!("husk-probe: {line}\n").as_bytes());
}
