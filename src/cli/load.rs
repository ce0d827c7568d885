//! `husk load`.

use std::io;
use std::path::PathBuf;

use super::Status;
use super::output::{Failure, say};
use crate::image::{Limits, Source, Store};
use crate::spec::units;

/// Take images into the store: docker archive, OCI archive, OCI layout directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive or directory; `-` is stdin
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    input: String,
    /// Refuse images that unpack to more than this
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    max_size: Option<u64>,
    /// Refuse images of more files than this
    #[arg(long, value_name = "N")]
    max_entries: Option<u64>,
    /// Print nothing but failures
    #[arg(short, long)]
    quiet: bool,
}

/// Loads every image of the source.
pub fn load(args: Args) -> Status {
    let mut limits = Limits::default();
    limits.max_size = args.max_size.unwrap_or(limits.max_size);
    limits.max_entries = args.max_entries.unwrap_or(limits.max_entries);
    let source = if args.input == "-" {
        if io::IsTerminal::is_terminal(&io::stdin()) {
            return Err(Failure::new(
                "stdin is a terminal: give an archive with -i FILE, or pipe one in",
            ));
        }
        Source::Stream(Box::new(io::stdin()))
    } else if let Some(source) = Source::of_transport(&args.input)? {
        source
    } else {
        Source::of_path(PathBuf::from(args.input))
    };
    for image in Store::open(&Store::default_path()?)?.load(source, &limits)? {
        let name = image
            .names
            .first()
            .map_or(image.id.to_string(), |name| name.familiar());
        if !args.quiet {
            say(&format!("Loaded image: {name}\n"))?;
        }
    }
    Ok(0)
}
