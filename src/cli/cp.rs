//! `husk cp`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::mpsc::channel;
use std::thread;

use husk_init::archive::program::Order;
use husk_init::archive::tar::{Reader, Writer};
use husk_init::archive::{self, CHUNK, Entry, Kind, Options, Owners, Rules, Source, Unpacking};

use super::Status as ExitStatus;
use super::completion;
use super::export::pass_on;
use super::machines::{REFUSED, refused};
use super::output::Failure;
use crate::image;
use crate::machines::Machine;
use crate::run;
use crate::run::files::{Archiver, Error};
use crate::spec::sentence::sentence;
use crate::spec::units::show_size;

/// Copy files and folders out of a machine that runs, or into it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep owners, by number; otherwise copies are root's in the machine, and yours here
    #[arg(short, long)]
    archive: bool,
    /// Follow SOURCE where it is a link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing of what was copied
    #[arg(short, long)]
    quiet: bool,
    /// MACHINE:PATH, PATH, or - for a tar archive on stdin
    #[arg(add = completion::places())]
    source: OsString,
    /// MACHINE:PATH, PATH, or - for a tar archive on stdout
    #[arg(add = completion::places())]
    destination: OsString,
}

/// An end of the copy.
enum End {
    /// A path here.
    Here(Vec<u8>),
    /// Our stdin or stdout.
    Stream,
    /// A machine, and an absolute path there.
    Machine(String, Vec<u8>),
}

/// Copies.
pub fn cp(args: &Args) -> ExitStatus {
    let find = |name: &str| run::machines()?.find(name).map_err(refused);
    let count = match (End::read(&args.source), End::read(&args.destination)) {
        (End::Machine(name, path), to @ (End::Here(_) | End::Stream)) => {
            out(&mut find(&name)?, path, &to, args)?
        }
        (End::Here(path), End::Machine(name, dest)) => {
            inside(&mut find(&name)?, &path, dest, args)?
        }
        (End::Stream, End::Machine(name, dest)) => unpack_stdin(&mut find(&name)?, dest)?,
        (End::Machine(..), End::Machine(..)) => {
            let text = "cp copies between a machine and here, and not between machines: \
                pipe one into the other, `husk cp A:PATH - | husk cp - B:PATH`";
            return Err(Failure::new(text).with_status(REFUSED));
        }
        _ => {
            let text = "cp needs a machine: write MACHINE:PATH for one of the two";
            return Err(Failure::new(text).with_status(REFUSED));
        }
    };
    if !args.quiet && io::stderr().is_terminal() {
        // Nobody is left to tell when stderr is gone.
        let _closed = writeln!(
            io::stderr(),
            "Successfully copied {} to {}",
            show_size(count),
            args.destination.to_string_lossy()
        );
    }
    Ok(0)
}

impl End {
    /// Docker's rule: what begins with `/` or `.` is here, whatever stands in it.
    fn read(word: &OsString) -> Self {
        let bytes = word.as_bytes();
        if bytes == b"-" {
            return Self::Stream;
        }
        let colon = bytes.iter().position(|byte| *byte == b':');
        match colon {
            Some(at) if !matches!(bytes[0], b'/' | b'.' | b':') => {
                let name = String::from_utf8_lossy(&bytes[..at]).into_owned();
                let path = bytes[at + 1..].to_vec();
                // What is not absolute begins at the machine's root.
                let path = match path.first() {
                    Some(b'/') => path,
                    _ => [b"/", &path[..]].concat(),
                };
                Self::Machine(name, path)
            }
            _ => Self::Here(word.clone().into_vec()),
        }
    }
}

/// What a path is called in an archive: its last name, or `.` for the content of a directory.
fn called(path: &[u8]) -> Vec<u8> {
    let mut names = path.split(|byte| *byte == b'/').rev();
    match names.find(|name| !name.is_empty()) {
        // A directory's name is not known where the path does not say it.
        None | Some(b"." | b"..") => b".".to_vec(),
        Some(name) => name.to_vec(),
    }
}

/// Counts the bytes that come by.
struct Counted<R> {
    from: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

type Incoming = Reader<Counted<BufReader<PipeReader>>>;

fn out(machine: &mut Machine, path: Vec<u8>, to: &End, args: &Args) -> Result<u64, Failure> {
    let (from, archive) = io::pipe()?;
    let order = Order::Pack {
        name: called(&path),
        path,
        follow: args.follow_link,
    };
    let archiver = Archiver::begin(machine, &order, None, archive.into()).map_err(failed)?;
    let mut reader = Reader::new(Counted {
        from: BufReader::with_capacity(CHUNK, from),
        count: 0,
    });
    let done = match to {
        End::Here(dest) => place(&mut reader, dest, args),
        _ => stdout().and_then(|to| pass_on(&mut reader, to)),
    };
    let count = reader.into_inner().count;
    finish(archiver, done)?;
    Ok(count)
}

fn stdout() -> Result<Writer<BufWriter<File>>, archive::Error> {
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    Ok(Writer::new(BufWriter::with_capacity(CHUNK, stdout)))
}

/// What the machine says of it, and then what happened here: where the stream broke off, the machine knows why.
pub fn finish(archiver: Archiver, done: Result<(), archive::Error>) -> Result<String, Failure> {
    match done {
        Ok(()) => archiver.end_with_words().map_err(failed),
        Err(archive::Error::Stream(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            archiver.end().map_err(failed)?;
            Err(wrong(&archive::Error::Stream(error)))
        }
        Err(error) => Err(wrong(&error)),
    }
}

fn place(reader: &mut Incoming, dest: &[u8], args: &Args) -> Result<(), archive::Error> {
    let Some(first) = reader.next_entry()? else {
        return Err(archive::Error::Malformed("it is empty"));
    };
    let source = Source {
        name: &first.name,
        kind: first.kind,
    };
    let place = archive::place(dest, source)?;
    let rules = Rules {
        owners: owners(args),
        wary: true,
        parents: false,
    };
    let mut left_out = |path: &[u8], why: &str| {
        // Nobody is left to tell when stderr is gone.
        let _closed = writeln!(io::stderr(), "husk: `{}`: {why}", archive::Shown(path));
    };
    let root = first.name.clone();
    let unpacking = Unpacking::new(place, Some(&root), rules, &mut left_out);
    archive::unpack(reader, Some(first), unpacking)
}

fn owners(args: &Args) -> Owners {
    match args.archive {
        true => Owners::Kept,
        false => Owners::Mine,
    }
}

/// Refuses an entry that leads out of its archive.
pub fn check(entry: &Entry) -> Result<(), archive::Error> {
    archive::check_name(&entry.name)?;
    match entry.kind {
        Kind::Link => archive::check_name(&entry.link),
        _ => Ok(()),
    }
}

fn inside(machine: &mut Machine, path: &[u8], dest: Vec<u8>, args: &Args) -> Result<u64, Failure> {
    let order = Order::Copy {
        dest,
        keep_owners: args.archive,
    };
    let options = Options {
        follow: args.follow_link,
        one_system: false,
    };
    let name = called(path);
    let path = path.to_vec();
    send(machine, &order, move |to| {
        archive::pack(&path, &name, options, to)
    })
}

fn unpack_stdin(machine: &mut Machine, dest: Vec<u8>) -> Result<u64, Failure> {
    send(machine, &Order::Unpack { dest }, |to| {
        image::repack(io::stdin(), to)
    })
}

/// Sends an archive that `pack` makes; the bytes of it.
fn send(
    machine: &mut Machine,
    order: &Order,
    pack: impl FnOnce(&mut Outgoing) -> Result<(), archive::Error> + Send + 'static,
) -> Result<u64, Failure> {
    let (archive, to) = io::pipe()?;
    let nowhere = File::options().write(true).open("/dev/null")?;
    let stdin = Some(OwnedFd::from(archive));
    let archiver = Archiver::begin(machine, order, stdin, nowhere.into()).map_err(failed)?;
    let (sender, packed) = channel();
    let packs = thread::Builder::new().name("packs".to_owned());
    packs.spawn(move || {
        let mut to = Writer::new(BufWriter::with_capacity(CHUNK, Counting { to, count: 0 }));
        let done = pack(&mut to).and_then(|()| to.end());
        let count = to.get_ref().get_ref().count;
        // Before the stream is let go of: then the archiver ends, and whoever waits for it looks here.
        let _gone = sender.send(done.map(|()| count));
    })?;
    match archiver.end() {
        Ok(()) => match packed.recv() {
            Ok(count) => count.map_err(|error| wrong(&error)),
            Err(_) => Err(Failure::new("the thread that packs died")),
        },
        Err(ended) => Err(match packed.try_recv() {
            Ok(Err(error)) if !is_closed(&error) => wrong(&error),
            _ => failed(ended),
        }),
    }
}

type Outgoing = Writer<BufWriter<Counting>>;

/// Counts the bytes that go by.
struct Counting {
    to: io::PipeWriter,
    count: u64,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether it is only that nobody reads any more.
fn is_closed(error: &archive::Error) -> bool {
    matches!(error, archive::Error::Stream(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

/// A copy that the machine does not make: status 1, as docker.
pub fn failed(error: Error) -> Failure {
    Failure::new(sentence(&error)).with_status(REFUSED)
}

fn wrong(error: &archive::Error) -> Failure {
    Failure::new(error.to_string()).with_status(REFUSED)
}
