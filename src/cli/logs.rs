//! `husk logs`.

use std::io::{self, BufWriter, Write};
use std::thread::sleep;
use std::time::Duration;

use super::Status as ExitStatus;
use super::completion;
use super::machines::{REFUSED, refused};
use super::output::Failure;
use crate::machines::{Cursor, Machine, Piece, Stream};
use crate::run;
use crate::spec::time::{self, Nanoseconds};

/// Print the output of a machine in the background
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on until the machine ends
    #[arg(short, long)]
    follow: bool,
    /// Say when each line was said
    #[arg(short, long)]
    timestamps: bool,
    /// Only what was said since then: 2006-01-02T15:04:05Z, seconds of Unix, or 10m for so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was said until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only the last N lines
    #[arg(
        short = 'n',
        long,
        value_name = "N|all",
        default_value = "all",
        hide_default_value = true
    )]
    tail: String,
    /// Name or ID
    #[arg(add = completion::machines())]
    machine: String,
}

/// How often is looked whether it is over.
const OFTEN: Duration = Duration::from_millis(50);

/// Prints stdout to stdout, and stderr to stderr.
pub fn logs(args: &Args) -> ExitStatus {
    let now = time::now();
    let moment = |flag: &str, text: &Option<String>| {
        let parsed = text
            .as_deref()
            .map(|text| time::parse(text, now))
            .transpose();
        parsed.map_err(|why| wrong(format!("--{flag} {why}")))
    };
    let (since, until) = (moment("since", &args.since)?, moment("until", &args.until)?);
    let tail: Option<u64> = match args.tail.as_str() {
        "all" | "-1" => None,
        number => {
            let why = format!("--tail `{number}`: write a number of lines, or all");
            Some(number.parse().map_err(|_| wrong(why))?)
        }
    };
    let mut machine = run::machines()?.find(&args.machine).map_err(refused)?;
    let damaged = |error: io::Error| {
        wrong(format!(
            "cannot read the log of machine `{}`: {error}",
            args.machine
        ))
    };
    let mut printer = Printer {
        timestamps: args.timestamps,
        since: since.unwrap_or(0),
        until: until.unwrap_or(Nanoseconds::MAX),
        stdout: Output::new(io::stdout()),
        stderr: Output::new(io::stderr()),
    };
    let Some(mut cursor) = find_log(&mut machine, args.follow)? else {
        return Ok(0);
    };
    if let Some(lines) = tail {
        cursor.tail(lines).map_err(damaged)?;
    }
    let growth = args.follow.then(|| Cursor::watch(&machine.folder));
    let growth = growth.transpose()?;
    loop {
        // Looked at first: what it said before it ended is in the log then.
        machine.refresh()?;
        let over = !args.follow || !machine.kept || time::now() > printer.until;
        while let Some(piece) = cursor.advance().map_err(damaged)? {
            match printer.print(piece) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
                printed => printed?,
            }
        }
        match printer.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            flushed => flushed?,
        }
        match &growth {
            Some(growth) if !over => growth.wait(OFTEN)?,
            _ => return Ok(0),
        }
    }
}

/// The log; `None` where nothing was said yet, which is waited for if `wait` says so.
fn find_log(machine: &mut Machine, wait: bool) -> Result<Option<Cursor>, Failure> {
    loop {
        machine.refresh()?;
        if let Some(cursor) = Cursor::open(&machine.folder)? {
            return Ok(Some(cursor));
        }
        if machine.state.started > 0 {
            let name = &machine.record.name;
            return Err(wrong(format!(
                "machine `{name}` has no log: it runs in the foreground, and its output goes there"
            )));
        }
        if !wait || !machine.kept {
            return Ok(None);
        }
        sleep(OFTEN);
    }
}

fn wrong(text: String) -> Failure {
    Failure::new(text).with_status(REFUSED)
}

/// What is printed of a log, and where.
struct Printer<O, E> {
    timestamps: bool,
    since: Nanoseconds,
    until: Nanoseconds,
    stdout: Output<O>,
    stderr: Output<E>,
}

/// One of the outputs, and whether a line begins there.
struct Output<W> {
    to: W,
    at_line_start: bool,
}

impl<O: Write, E: Write> Printer<O, E> {
    fn print(&mut self, piece: Piece<'_>) -> io::Result<()> {
        if piece.time < self.since || piece.time > self.until {
            return Ok(());
        }
        match piece.stream {
            Stream::Stdout => self.stdout.print(piece, self.timestamps),
            Stream::Stderr => self.stderr.print(piece, self.timestamps),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdout.to.flush()?;
        self.stderr.to.flush()
    }
}

impl<W: Write> Output<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            at_line_start: true,
        }
    }

    fn print(&mut self, piece: Piece<'_>, timestamps: bool) -> io::Result<()> {
        if !timestamps {
            return self.to.write_all(piece.bytes);
        }
        let moment = time::show(piece.time);
        let mut buffered = BufWriter::new(&mut self.to);
        for line in piece.bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.at_line_start {
                write!(buffered, "{moment} ")?;
            }
            buffered.write_all(line)?;
            self.at_line_start = line.ends_with(b"\n");
        }
        buffered.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(timestamps: bool, pieces: &[(Stream, u64, &str)]) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut printer = Printer {
            timestamps,
            since: 10,
            until: 20,
            stdout: Output::new(&mut out),
            stderr: Output::new(&mut err),
        };
        for (stream, time, text) in pieces {
            let piece = Piece {
                stream: *stream,
                time: *time,
                bytes: text.as_bytes(),
            };
            printer.print(piece).unwrap();
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(out), text(err))
    }

    #[test]
    fn streams_stay_apart_and_times_bound_them() {
        let (stdout, stderr) = (Stream::Stdout, Stream::Stderr);
        let pieces = [
            (stdout, 9, "early\n"),
            (stdout, 10, "a"),
            (stderr, 11, "x\ny\n"),
            (stdout, 12, "b\nc\n"),
            (stderr, 21, "late\n"),
        ];
        let plain = print(false, &pieces);
        assert_eq!(plain, ("ab\nc\n".to_owned(), "x\ny\n".to_owned()));
        let moment = |nanos: u64| time::show(nanos);
        let (out, err) = print(true, &pieces);
        assert_eq!(out, format!("{} ab\n{} c\n", moment(10), moment(12)));
        assert_eq!(err, format!("{0} x\n{0} y\n", moment(11)));
    }
}
