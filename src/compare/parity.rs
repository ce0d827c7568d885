//! Whether a command did the same behind each wall: its exit status, its output, and what it changed in
//! the file system. The probe looks from inside of each wall (`husk run --changes TOKEN`), so that nothing
//! has to be known about how a wall keeps its files.
//!
//! Nothing that differs is called harmless. What a wall must give differently, like a random host name, is
//! made equal by whoever writes the command lines.

mod describe;
mod output;
mod separate;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::panic::resume_unwind;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::comparison::Bench;
use super::interrupt::Interrupt;
use super::launch::{self, ask_to_end, status_code};
use super::report::Parity;
use crate::spec::sentence::printable;
pub use describe::differences;
use output::Capture;
pub use output::Output;
use separate::Separator;

/// How soon an end or an interrupt is noticed.
const GLANCE: Duration = Duration::from_millis(10);

/// Why nobody knows what a command did.
#[derive(Debug, Error)]
pub enum Error {
    /// Somebody asked for the end.
    #[error("interrupted")]
    Interrupted,
    /// The run could not be started, or its streams not read.
    #[error("cannot run husk")]
    Run(#[source] io::Error),
    /// It ended before the probe had said everything.
    #[error("it ended with status {status} before its changes were known{}", because(.words))]
    Unseen {
        /// Its status.
        status: i32,
        /// The last line that was said about it.
        words: String,
    },
    /// The probe said something that is no change.
    #[error("the list of what it changed is damaged")]
    Damaged(#[source] serde_json::Error),
    /// The host has no randomness to give.
    #[error("cannot get random bytes from the kernel: {0}")]
    Random(getrandom::Error),
    /// Behind which wall it was.
    #[error("behind the wall {wall}")]
    Behind {
        /// The wall.
        wall: String,
        /// What.
        source: Box<Error>,
    },
}

fn because(words: &str) -> String {
    if words.is_empty() {
        return String::new();
    }
    format!(": {words}")
}

/// What was seen of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The exit status.
    pub status: i32,
    /// What the command wrote to stdout.
    pub stdout: Output,
    /// What it wrote to stderr, without the probe's words and husk's.
    pub stderr: Output,
    /// What it changed, by path. A path's bytes that are not UTF-8 are `\xNN`, and its backslashes double.
    pub files: BTreeMap<String, Change>,
}

/// What happened to a path, and what is there now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Change {
    /// What happened.
    pub change: How,
    /// What kind of thing is there, or was.
    pub kind: String,
    /// Permissions.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Bytes of a file.
    pub size: Option<u64>,
    /// Where a link leads.
    pub target: Option<String>,
    /// What is in a file, as a number.
    pub hash: Option<String>,
}

/// What can happen to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It was not there before.
    Added,
    /// It is not what it was.
    Changed,
    /// It is not there any more.
    Removed,
}

/// The suite's name.
pub const SUITE: &str = "parity";

/// Says whether the command does the same behind every wall.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<(), super::Error> {
    bench.tell("what the command does", 0, None);
    let workload = &bench.request.workload;
    let walls = bench.request.walls.iter().map(|wall| {
        let run = |token: &str| {
            let words = ["--changes".as_ref(), token.as_ref()];
            launch::command(wall, workload, &words)
        };
        (wall.name.as_str(), run)
    });
    bench.report.parity = Some(compare(walls, &bench.interrupt)?);
    bench.keep()
}

/// Runs the command once behind each wall and says what differed. A wall is a name and its command line,
/// a `husk run` that is given the token for its `--changes`. The runs follow one another.
pub fn compare<'a, W, C>(walls: W, interrupt: &Interrupt) -> Result<Parity, Error>
where
    W: IntoIterator<Item = (&'a str, C)>,
    C: FnOnce(&str) -> Command,
{
    let mut seen = Vec::new();
    for (wall, command) in walls {
        let token = random_token()?;
        let looked = look(command(&token), &token, interrupt).map_err(|error| match error {
            Error::Interrupted => error,
            error => Error::Behind {
                wall: wall.to_owned(),
                source: Box::new(error),
            },
        });
        seen.push((wall.to_owned(), looked?));
    }
    Ok(differences(&seen))
}

/// Runs `command`, a `husk run --changes` with this token, without a stdin. Of output of any length, 16 MiB
/// are kept.
pub fn look(mut command: Command, token: &str, interrupt: &Interrupt) -> Result<Seen, Error> {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::Run)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut separator = Separator::new(token);
    let mut capture = Capture::default();
    let ended = thread::scope(|scope| {
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let out = || carry(out, |bytes| capture.push(bytes));
        let err = || carry(err, |bytes| separator.push(bytes));
        let readers = named("stdout").spawn_scoped(scope, out).and_then(|out| {
            let err = named("stderr").spawn_scoped(scope, err)?;
            Ok([out, err])
        });
        let ended = wait(&mut child, interrupt, readers.is_ok());
        for reader in readers? {
            reader.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        ended
    });
    let ended = ended.map_err(Error::Run)?;
    if interrupt.is_requested() {
        return Err(Error::Interrupted);
    }
    let status = status_code(ended);
    let separated = separator.finish();
    let Some(list) = separated.list else {
        let words = separated.last_line;
        return Err(Error::Unseen {
            status,
            words: printable(&words),
        });
    };
    Ok(Seen {
        status,
        stdout: capture.finish(),
        stderr: separated.stderr,
        files: parse(&list)?,
    })
}

/// A line of the probe's list.
#[derive(Deserialize)]
struct Line {
    path: String,
    #[serde(flatten)]
    change: Change,
}

fn parse(list: &[u8]) -> Result<BTreeMap<String, Change>, Error> {
    let lines = list.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty()).map(|line| {
        let line: Line = serde_json::from_slice(line).map_err(Error::Damaged)?;
        Ok((line.path, line.change))
    });
    lines.collect()
}

/// Waits for the run to end. One that is not wanted any more is asked to.
fn wait(child: &mut Child, interrupt: &Interrupt, wanted: bool) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if !wanted || interrupt.is_requested() {
            ask_to_end(child);
            return child.wait();
        }
        thread::sleep(GLANCE);
    }
}

fn carry(from: Option<impl Read>, mut to: impl FnMut(&[u8])) -> io::Result<()> {
    let mut from = from.ok_or(io::ErrorKind::BrokenPipe)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// 128 bits that no command can guess, in letters and digits.
fn random_token() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::launch::FAREWELL;
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_run_is_taken_apart() {
        let script = r#"
            echo 'husk: no such limit here' >&2
            printf 'T ready\nerr' >&2; printf out
            printf '\nT begin\n' >&2
            echo '{"path":"/a","change":"added","kind":"file","mode":420,"size":2,"hash":"0f"}' >&2
            printf 'T end 3\nhusk: said later\n' >&2
            exit 3"#;
        let seen = look(shell(script), "T", &Interrupt::default()).unwrap();
        assert_eq!(seen.status, 3);
        assert_eq!(seen.stdout, Output::of(b"out"));
        assert_eq!(seen.stderr, Output::of(b"err"));
        let change = &seen.files["/a"];
        assert_eq!((change.change, change.mode), (How::Added, Some(0o644)));
        assert_eq!(change.uid, None);
    }

    #[test]
    fn a_run_that_was_not_seen_is_an_error_with_its_last_words() {
        let failed = "echo 'husk: one' >&2; echo 'husk: two' >&2; exit 125";
        let error = look(shell(failed), "T", &Interrupt::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("status 125") && error.ends_with(": husk: two"));
        let cut = "printf 'T ready\nx\n\nT begin\n{' >&2; kill -9 $$";
        let error = look(shell(cut), "T", &Interrupt::default()).unwrap_err();
        assert!(
            matches!(error, Error::Unseen { status: 137, .. }),
            "{error}"
        );
        let damaged = "printf 'T ready\n\nT begin\n{}\nT end 0\n' >&2";
        let error = look(shell(damaged), "T", &Interrupt::default()).unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{error}");
        let gone = look(Command::new("/nowhere/at/all"), "T", &Interrupt::default()).unwrap_err();
        assert!(matches!(gone, Error::Run(_)), "{gone}");
    }

    #[test]
    fn walls_are_compared_by_name_and_each_has_its_token() {
        let quiet = Interrupt::default();
        let wall = |status: u8| {
            move |token: &str| {
                let said = format!("{token} ready\n\n{token} begin\n{token} end {status}\n");
                shell(&format!("printf '{said}' >&2; exit {status}"))
            }
        };
        assert!(
            compare([("a", wall(0)), ("b", wall(0))], &quiet)
                .unwrap()
                .equal
        );
        let parity = compare([("a", wall(0)), ("b", wall(1))], &quiet).unwrap();
        assert_eq!(parity.differences.len(), 1);
        assert_eq!(parity.differences[0].walls.get("b").unwrap(), "1");
        let broken = |_: &str| shell("exit 125");
        let error = compare([("x", broken)], &quiet).unwrap_err();
        assert_eq!(error.to_string(), "behind the wall x");
    }

    #[test]
    fn nobody_waits_for_a_run_that_is_not_wanted_any_more() {
        let begun = Instant::now();
        let run = shell("exec sleep 100");
        let error = look(run, "T", &Interrupt::requested()).unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{error}");
        assert!(begun.elapsed() < FAREWELL);
    }
}
