//! `husk network`.

use super::{Status, setup};

/// Prepare networks of this host's for machines
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Setup(setup::Args),
}

/// Does what the verb says.
pub fn network(args: &Args) -> Status {
    match &args.verb {
        Verb::Setup(args) => setup::setup(args),
    }
}
