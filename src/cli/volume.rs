//! `husk volume`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Status;
use super::completion;
use super::lifecycle::split_label;
use super::output::{Failure, confirm, say};
use crate::image::Store;
use crate::spec::sentence::sentence;
use crate::volumes::{self, Volume, Volumes};

/// Make, list and remove named volumes
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a volume, of this name or of one that husk chooses
    Create {
        /// Its name
        name: Option<String>,
        /// Remember a word about it
        #[arg(long, value_name = "KEY[=VALUE]")]
        label: Vec<String>,
    },
    /// List volumes
    Ls {
        /// Print names only
        #[arg(short, long)]
        quiet: bool,
        /// How: table or json
        #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
        format: String,
    },
    /// Show what is known of volumes, as JSON
    Inspect {
        /// Names
        #[arg(required = true, value_name = "VOLUME", add = completion::volumes())]
        names: Vec<String>,
    },
    /// Remove volumes and what is in them
    Rm {
        /// Say nothing of a volume that is not there
        #[arg(short, long)]
        force: bool,
        /// Names
        #[arg(required = true, value_name = "VOLUME", add = completion::volumes())]
        names: Vec<String>,
    },
    /// Remove all volumes that no run uses
    Prune {
        /// Do not ask
        #[arg(short, long)]
        force: bool,
    },
}

/// Does what the verb says.
pub fn volume(args: Args) -> Status {
    let volumes = Volumes::of(&Store::default_path()?);
    match args.verb {
        Verb::Create { name, label } => create(&volumes, name, &label),
        Verb::Ls { quiet, format } => list(&volumes, quiet, &format),
        Verb::Inspect { names } => inspect(&volumes, &names),
        Verb::Rm { force, names } => remove(&volumes, force, &names),
        Verb::Prune { force } => prune(&volumes, force),
    }
}

fn create(volumes: &Volumes, name: Option<String>, labels: &[String]) -> Status {
    let labels = labels.iter().map(|label| split_label(label));
    let name = name.map_or_else(random_name, Ok)?;
    volumes.create(&name, labels.collect::<BTreeMap<_, _>>())?;
    say(&format!("{name}\n"))?;
    Ok(0)
}

/// Sixty-four hexadecimal digits, as docker names what nobody named.
fn random_name() -> Result<String, Failure> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(format!("cannot get random bytes from the kernel: {error}"))
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn list(volumes: &Volumes, quiet: bool, format: &str) -> Status {
    let found = volumes.list()?;
    let names = found.iter().map(|volume| &volume.record.name);
    let text: String = if quiet {
        names.map(|name| format!("{name}\n")).collect()
    } else if format == "json" {
        let lines = found.iter().map(to_json);
        lines.map(|line| format!("{line}\n")).collect()
    } else {
        let rows = names.map(|name| format!("local     {name}\n"));
        ["DRIVER    VOLUME NAME\n".to_owned()]
            .into_iter()
            .chain(rows)
            .collect()
    };
    say(&text)?;
    Ok(0)
}

fn inspect(volumes: &Volumes, names: &[String]) -> Status {
    let found: Result<Vec<_>, _> = names.iter().map(|name| volumes.find(name)).collect();
    let list: Vec<_> = found?.iter().map(to_json).collect();
    say(&format!("{:#}\n", json!(list)))?;
    Ok(0)
}

/// Docker's keys.
fn to_json(volume: &Volume) -> Value {
    json!({
        "CreatedAt": volume.record.created_at,
        "Driver": "local",
        "Labels": volume.record.labels,
        "Mountpoint": volume.data,
        "Name": volume.record.name,
        "Options": {},
        "Scope": "local",
    })
}

/// Removes those that can be, and tells of the others.
fn remove(volumes: &Volumes, force: bool, names: &[String]) -> Status {
    let mut status = 0;
    for name in names {
        match volumes.remove(name) {
            Ok(()) => say(&format!("{name}\n"))?,
            Err(volumes::Error::Unknown { .. }) if force => {}
            Err(error) => {
                let failure = Failure::new(sentence(&error));
                failure.print();
                status = failure.status();
            }
        }
    }
    Ok(status)
}

fn prune(volumes: &Volumes, force: bool) -> Status {
    volumes.sweep()?;
    let unused = volumes.unused()?;
    let question = "These volumes, and all that is in them, will be removed";
    if !force && !unused.is_empty() && !confirm(question, &unused)? {
        return Ok(0);
    }
    for name in unused {
        match volumes.remove(&name) {
            Ok(()) => say(&format!("{name}\n"))?,
            // Somebody began to use it, or removed it, since it was listed.
            Err(volumes::Error::InUse(_) | volumes::Error::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(0)
}

impl From<volumes::Error> for Failure {
    fn from(error: volumes::Error) -> Self {
        Self::new(sentence(&error))
    }
}
