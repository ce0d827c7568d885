//! Flags about a machine's life as a whole, which `husk run` and `husk create` share.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::output::Failure;
use crate::spec::{Lifecycle, Restart};

/// The flags.
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    /// Run in the background, and print the machine's ID
    #[arg(short, long)]
    pub detach: bool,
    /// Remove the machine when it has ended
    #[arg(long = "rm")]
    remove: bool,
    /// Write the machine's ID to a file, which must not be there
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Label the machine; may be given several times
    #[arg(short, long = "label", value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Read labels from a file, one KEY=VALUE per line
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// When to start it again: no, on-failure[:N], always or unless-stopped; needs -d
    #[arg(long, value_name = "POLICY", default_value = "no", value_parser = Restart::parse, hide_default_value = true)]
    restart: Restart,
    /// Signal that asks the workload to stop [default: the image's, or SIGTERM]
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds that it may take to stop, before it is killed; -1 for ever [default: 10]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
}

impl Flags {
    /// What they ask for.
    pub fn lifecycle(&self) -> Result<Lifecycle, Failure> {
        let mut labels = BTreeMap::new();
        for file in &self.label_file {
            let text = fs::read_to_string(file).map_err(|error| {
                Failure::new(format!("cannot read `{}`: {error}", file.display()))
            })?;
            let lines = text.lines().map(str::trim);
            for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
                add_label(&mut labels, line)?;
            }
        }
        for label in &self.label {
            add_label(&mut labels, label)?;
        }
        Ok(Lifecycle {
            labels,
            remove: self.remove,
            restart: self.restart,
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            id_file: self.cidfile.clone(),
        })
    }

    /// The policy asked for.
    pub fn restart(&self) -> Restart {
        self.restart
    }
}

/// `KEY[=VALUE]`, taken apart.
pub fn split_label(label: &str) -> (String, String) {
    let (key, value) = label.split_once('=').unwrap_or((label, ""));
    (key.to_owned(), value.to_owned())
}

fn add_label(labels: &mut BTreeMap<String, String>, label: &str) -> Result<(), Failure> {
    let (key, value) = split_label(label);
    if key.trim().is_empty() {
        return Err(Failure::new(format!("--label `{label}`: write KEY=VALUE")));
    }
    labels.insert(key, value);
    Ok(())
}
