//! `husk export`.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use husk_init::archive::program::Order;
use husk_init::archive::tar::{Reader, Writer};
use husk_init::archive::{CHUNK, Error};

use super::Status as ExitStatus;
use super::completion;
use super::cp::{check, failed, finish};
use super::machines::{REFUSED, refused};
use super::output::Failure;
use crate::machines::Machine;
use crate::run;
use crate::run::files::Archiver;

/// Write the root file system of a machine that runs as a tar archive, without what is mounted on it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to write, instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name or ID
    #[arg(add = completion::running())]
    machine: String,
}

/// Exports it; a file that is not whole is taken away again.
pub fn export(args: &Args) -> ExitStatus {
    let mut machine = run::machines()?.find(&args.machine).map_err(refused)?;
    let Some(path) = &args.output else {
        if io::stdout().is_terminal() {
            let text = "stdout is a terminal: give a file with -o FILE, or pipe the archive on";
            return Err(Failure::new(text).with_status(REFUSED));
        }
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        return write(&mut machine, stdout).map(|()| 0);
    };
    let file = File::create(path).map_err(|error| {
        let text = format!("cannot write `{}`: {error}", path.display());
        Failure::new(text).with_status(REFUSED)
    })?;
    let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
    let written = write(&mut machine, file);
    if written.is_err() && is_file {
        // What is left of it is said to be nothing whole in any case.
        let _gone = fs::remove_file(path);
    }
    written.map(|()| 0)
}

fn write(machine: &mut Machine, to: File) -> Result<(), Failure> {
    let (from, archive) = io::pipe()?;
    let archiver =
        Archiver::begin(machine, &Order::Export, None, archive.into()).map_err(failed)?;
    let mut reader = Reader::new(BufReader::with_capacity(CHUNK, from));
    let to = Writer::new(BufWriter::with_capacity(CHUNK, to));
    finish(archiver, pass_on(&mut reader, to)).map(drop)
}

/// An archive of a machine's, written again: only names that lead nowhere else.
pub fn pass_on(
    reader: &mut Reader<impl io::Read>,
    mut to: Writer<impl Write>,
) -> Result<(), Error> {
    while let Some(entry) = reader.next_entry()? {
        check(&entry)?;
        to.copy(&entry, reader)?;
    }
    to.end()
}
