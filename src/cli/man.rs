//! `husk man`: the manual, made from the same words as `--help`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use super::Status;
use super::output::{Failure, say};

/// Print the manual page of husk, or write those of all its verbs into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "\
husk man | man -l -
husk man --dir ~/.local/share/man/man1 && man husk-run")]
pub struct Args {
    /// Write husk.1, husk-run.1 and so on into this folder, made if missing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints one page, or writes all of them.
pub fn man(args: &Args, mut command: Command) -> Status {
    command.build();
    let Some(folder) = &args.dir else {
        say(&String::from_utf8_lossy(&page(command)?))?;
        return Ok(0);
    };
    fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let mut pages = vec![("husk".to_owned(), page(command.clone())?)];
    for verb in verbs {
        // As git's are called, so that `man husk-run` finds it.
        let name = format!("husk-{}", verb.get_name());
        let text = page(verb.clone().name(name.clone()))?;
        pages.push((name, text));
    }
    for (name, text) in pages {
        let path = folder.join(format!("{name}.1"));
        fs::write(&path, text).map_err(|error| cannot_write(&path, &error))?;
    }
    Ok(0)
}

fn page(command: Command) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    Man::new(command).render(&mut text)?;
    Ok(text)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write `{}`: {error}", path.display()))
}
