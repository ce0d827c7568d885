//! `husk inspect`.

use serde_json::{Map, Value, json};

use super::output::say;
use super::{Status, completion};
use crate::image::{Image, Store};

/// Show what images say about themselves, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or IDs
    #[arg(required = true, value_name = "IMAGE", add = completion::images())]
    images: Vec<String>,
}

/// Prints a JSON list, in the order asked, with docker's keys.
pub fn inspect(args: &Args) -> Status {
    let store = Store::open(&Store::default_path()?)?;
    let found: Result<Vec<_>, _> = args.images.iter().map(|name| store.find(name)).collect();
    let list: Vec<_> = found?.iter().map(to_json).collect();
    say(&format!("{:#}\n", json!(list)))?;
    Ok(0)
}

fn to_json(image: &Image) -> Value {
    let config = &image.config;
    let names: Vec<_> = image.names.iter().map(|name| name.familiar()).collect();
    let layers: Vec<_> = image.layers.iter().map(ToString::to_string).collect();
    let set = |paths: &[String]| -> Value {
        paths
            .iter()
            .map(|path| (path.clone(), json!({})))
            .collect::<Map<_, _>>()
            .into()
    };
    json!({
        "Id": image.id.to_string(),
        "RepoTags": names,
        "Created": image.created,
        "Architecture": image.architecture,
        "Os": "linux",
        "Size": image.size,
        "Config": {
            "User": config.user,
            "ExposedPorts": set(&config.exposed_ports),
            "Env": config.env,
            "Entrypoint": config.entrypoint,
            "Cmd": config.cmd,
            "Volumes": set(&config.volumes),
            "WorkingDir": config.workdir,
            "Labels": config.labels,
            "StopSignal": config.stop_signal,
        },
        "RootFS": { "Type": "layers", "Layers": layers },
    })
}
