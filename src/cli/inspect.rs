//! `husk inspect`.

use serde_json::{Map, Value, json};

use super::output::Failure;
use super::template::{Template, show_all};
use super::{Status, completion};
use super::{attempts, machines};
use crate::image::{Image, Store};
use crate::machines::Error;
use crate::run;
use crate::spec::EgressPolicy;

/// Show what is known of machines and images, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print what docker's template says of each, like '{{.State.Status}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names or IDs; a machine comes before an image
    #[arg(required = true, value_name = "MACHINE|IMAGE", add = completion::machines_and_images())]
    names: Vec<String>,
}

/// Prints a JSON list, in the order asked, with docker's keys.
pub fn inspect(args: &Args) -> Status {
    let template = args.format.as_deref().map(Template::parse).transpose()?;
    let list: Result<Vec<_>, _> = args.names.iter().map(|name| find(name)).collect();
    let list = list?;
    show_all(template.as_ref(), &list)
}

fn find(name: &str) -> Result<Value, Failure> {
    match run::machines()?.find(name) {
        Ok(machine) => {
            let mut shown = machines::to_json(&machine.record, &machine.state);
            let egress = EgressPolicy::parse(&machine.record.request.egress).unwrap_or_default();
            let attempts = machine.folder.attempts().map_err(machines::refused)?;
            shown["NetworkSettings"]["Attempts"] = attempts::to_json(&attempts, &egress);
            return Ok(shown);
        }
        Err(Error::NoSuch { .. }) => {}
        Err(error) => return Err(machines::refused(error)),
    }
    let store = Store::open(&Store::default_path()?)?;
    Ok(to_json(&store.find(name)?))
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
