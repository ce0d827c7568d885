//! `husk diff`.

use std::io::{self, BufReader, BufWriter, Write};

use husk_init::archive::program::{Halt, Order};
use husk_init::archive::{CHUNK, Error, Shown};

use super::Status as ExitStatus;
use super::completion;
use super::cp::{failed, finish};
use super::machines::refused;
use crate::image::{Files, Store};
use crate::machines::Machine;
use crate::run;
use crate::run::changes::{Changes, hidden};
use crate::run::files::Archiver;

/// List what a machine that runs has changed of its image: A added, C changed, D deleted
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or ID
    #[arg(add = completion::running())]
    machine: String,
}

/// Lists a line for each path.
pub fn diff(args: &Args) -> ExitStatus {
    let mut machine = run::machines()?.find(&args.machine).map_err(refused)?;
    let store = Store::open(&Store::default_path()?)?;
    let image = store
        .find(&machine.record.image_id)
        .map_err(super::output::Failure::from)?;
    let files = store.files(&image)?;
    let order = Order::Changes {
        halt: Halt::Nobody,
        contents: false,
        hidden: hidden(&image.config.volumes),
    };
    list(&mut machine, &order, &files)?;
    Ok(0)
}

fn list(machine: &mut Machine, order: &Order, files: &Files) -> Result<(), super::output::Failure> {
    let (from, archive) = io::pipe()?;
    let archiver = Archiver::begin(machine, order, None, archive.into()).map_err(failed)?;
    let changes = Changes::new(BufReader::with_capacity(CHUNK, from), files);
    finish(archiver, print(changes)).map(drop)
}

fn print(mut changes: Changes<'_, impl io::Read>) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    while let Some(change) = changes.next_change()? {
        let Some(how) = change.how else { continue };
        let line = writeln!(out, "{} /{}", how.letter(), Shown(&change.path));
        match line {
            // Whoever reads has read enough, as in `husk diff box | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            line => line?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
