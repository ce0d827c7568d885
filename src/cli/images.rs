//! `husk images`.

use serde_json::json;

use super::Status;
use super::output::say;
use crate::image::{Image, Store};
use crate::spec::units;

/// List the images in the store
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print image IDs only
    #[arg(short, long)]
    quiet: bool,
}

/// Hexadecimal digits of a short ID, as docker shows them.
const SHORT_ID: usize = 12;

/// Lists the images, newest names first.
pub fn images(args: &Args) -> Status {
    let images = Store::open(&Store::default_path()?)?.images()?;
    if args.json {
        let list: Vec<_> = images.iter().map(to_json).collect();
        say(&format!("{}\n", json!(list)))?;
    } else if args.quiet {
        let ids: String = images
            .iter()
            .map(|image| format!("{}\n", short_id(image)))
            .collect();
        say(&ids)?;
    } else {
        say(&table(&images))?;
    }
    Ok(0)
}

fn to_json(image: &Image) -> serde_json::Value {
    let names: Vec<_> = image.names.iter().map(ToString::to_string).collect();
    json!({
        "id": image.id.to_string(),
        "names": names,
        "created": image.created,
        "size": image.size,
        "architecture": image.architecture,
    })
}

fn table(images: &[Image]) -> String {
    let mut rows = vec![["NAME", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned)];
    for image in images {
        let day = image
            .created
            .as_deref()
            .and_then(|time| time.get(..10))
            .unwrap_or("-");
        let row = |name: String| {
            [
                name,
                short_id(image),
                day.to_owned(),
                units::show_size(image.size),
            ]
        };
        rows.extend(image.names.iter().map(|name| row(name.familiar())));
        if image.names.is_empty() {
            rows.push(row("<none>".to_owned()));
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let line = |[name, id, day, size]: &[String; 4]| {
        let [a, b, c] = widths;
        format!("{name:<a$}   {id:<b$}   {day:<c$}   {size}\n")
    };
    rows.iter().map(line).collect()
}

fn short_id(image: &Image) -> String {
    image.id.hex().chars().take(SHORT_ID).collect()
}
