//! `husk network`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::Status;
use super::completion;
use super::lifecycle::split_label;
use super::output::{Failure, confirm, say};
use super::setup;
use super::template::{Template, show_all};
use crate::image::Store;
use crate::machines::Listed;
use crate::networks::{self, Draft, Networks, Record};
use crate::run;
use crate::spec::sentence::sentence;
use crate::spec::{Joining, PREFIX_V6, time};

/// Make, list and remove networks on which machines reach one another by name
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a network, and print its ID
    Create {
        /// Its addresses, like 10.5.0.0/24 or fd12:3456::/64 [default: some that no other network has]
        #[arg(long, value_name = "CIDR")]
        subnet: Vec<String>,
        /// Give its machines no way to the world outside
        #[arg(long)]
        internal: bool,
        /// Remember a word about it
        #[arg(long, value_name = "KEY[=VALUE]")]
        label: Vec<String>,
        /// Its name
        name: String,
    },
    /// List networks
    Ls {
        /// Print IDs only
        #[arg(short, long)]
        quiet: bool,
        /// Cut nothing short
        #[arg(long)]
        no_trunc: bool,
        /// Only those for which it is so: id, name, label, driver, scope, type, dangling
        #[arg(short, long, value_name = "KEY=VALUE")]
        filter: Vec<String>,
        /// Print `json`, or what docker's template says, like '{{.Name}}' or 'table {{.ID}}\t{{.Name}}'
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
    /// Show what is known of networks and the machines on them, as JSON
    Inspect {
        /// Print what docker's template says of each, like '{{.Internal}}'
        #[arg(short, long, value_name = "FORMAT")]
        format: Option<String>,
        /// Names or IDs
        #[arg(required = true, value_name = "NETWORK", add = completion::networks())]
        names: Vec<String>,
    },
    /// Remove networks
    Rm {
        /// Say nothing of a network that is not there
        #[arg(short, long)]
        force: bool,
        /// Names or IDs
        #[arg(required = true, value_name = "NETWORK", add = completion::networks())]
        names: Vec<String>,
    },
    /// Have a machine be on one more network, now if it runs, and from each start on
    Connect {
        /// Be found by this name too
        #[arg(long, value_name = "NAME")]
        alias: Vec<String>,
        /// Have this address there
        #[arg(long, value_name = "ADDRESS")]
        ip: Option<Ipv4Addr>,
        /// Name or ID of the network
        #[arg(add = completion::networks())]
        network: String,
        /// Name or ID of the machine
        #[arg(add = completion::machines())]
        machine: String,
    },
    /// Have a machine leave a network
    Disconnect {
        /// Also one that cannot be told
        #[arg(short, long)]
        force: bool,
        /// Name or ID of the network
        #[arg(add = completion::networks())]
        network: String,
        /// Name or ID of the machine
        #[arg(add = completion::machines())]
        machine: String,
    },
    /// Remove all networks on which no machine is
    Prune {
        /// Do not ask
        #[arg(short, long)]
        force: bool,
    },
    Setup(setup::Args),
}

/// What `--format` may name, and how a table calls it.
const FIELDS: [(&str, &str); 8] = [
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Internal", "INTERNAL"),
    ("IPv6", "IPV6"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

/// What is listed where nobody says.
const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";

/// Digits of an ID that are shown.
const SHORT: usize = 12;

/// What carries packets between machines.
pub const DRIVER: &str = "switch";

/// Does what the verb says.
pub fn network(args: Args) -> Status {
    let networks = Networks::of(&Store::default_path()?);
    match args.verb {
        Verb::Create {
            subnet,
            internal,
            label,
            name,
        } => {
            let draft = Draft {
                subnets: subnet,
                internal,
                labels: label.iter().map(|label| split_label(label)).collect(),
            };
            let made = networks.create(&name, draft)?;
            run::networks::note(&made, "create");
            say(&format!("{}\n", made.id)).map(|()| 0)
        }
        Verb::Ls {
            quiet,
            no_trunc,
            filter,
            format,
        } => list(&networks, &filter, format.as_deref(), quiet, no_trunc),
        Verb::Inspect { format, names } => inspect(&networks, format.as_deref(), &names),
        Verb::Rm { force, names } => remove(&networks, force, &names),
        Verb::Connect {
            alias,
            ip,
            network,
            machine,
        } => {
            let joining = Joining {
                network,
                aliases: alias,
                ip,
            };
            run::networks::connect(&mut run::machines()?.find(&machine)?, joining)?;
            Ok(0)
        }
        Verb::Disconnect {
            force,
            network,
            machine,
        } => {
            run::networks::disconnect(&mut run::machines()?.find(&machine)?, &network, force)?;
            Ok(0)
        }
        Verb::Prune { force } => prune(&networks, force),
        Verb::Setup(args) => setup::setup(&args),
    }
}

fn list(
    networks: &Networks,
    filters: &[String],
    format: Option<&str>,
    quiet: bool,
    whole: bool,
) -> Status {
    let filters: Result<Vec<_>, _> = filters.iter().map(|text| parse_filter(text)).collect();
    let filters = filters?;
    let used = match filters.iter().any(|(key, _)| *key == "dangling") {
        true => used()?,
        false => BTreeSet::new(),
    };
    let mut found = networks.list()?;
    found.retain(|record| accepts(&filters, record, &used));
    let id = |record: &Record| match whole {
        true => record.id.clone(),
        false => record.id[..SHORT.min(record.id.len())].to_owned(),
    };
    if quiet {
        let lines = found.iter().map(|record| format!("{}\n", id(record)));
        return say(&lines.collect::<String>()).map(|()| 0);
    }
    let rows = found.iter().map(|record| {
        json!({
            "ID": id(record),
            "Name": record.name,
            "Driver": DRIVER,
            "Scope": "local",
            "Internal": record.internal.to_string(),
            "IPv6": "true",
            "Labels": record.labels,
            "CreatedAt": time::show_plainly(record.created),
        })
    });
    let format = format.filter(|format| *format != "table");
    let template = Template::parse(format.unwrap_or(TABLE))?;
    say(&template.render(&rows.collect::<Vec<_>>(), &FIELDS)?)?;
    Ok(0)
}

fn parse_filter(text: &str) -> Result<(&str, &str), Failure> {
    let wrong = |why: &str| Failure::new(format!("--filter `{text}`: {why}"));
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| wrong("write KEY=VALUE"))?;
    match (key, value) {
        ("id" | "name" | "label" | "driver" | "scope", _)
        | ("type", "custom" | "builtin")
        | ("dangling", "true" | "false" | "1" | "0") => Ok((key, value)),
        ("type", _) => Err(wrong("a type is custom or builtin")),
        ("dangling", _) => Err(wrong("write true or false")),
        _ => Err(wrong(
            "the keys are id, name, label, driver, scope, type and dangling",
        )),
    }
}

/// As docker: of several filters with the same key one must hold, and of those with different keys all; of labels all.
/// Machines are on the networks that are `used`.
fn accepts(filters: &[(&str, &str)], record: &Record, used: &BTreeSet<String>) -> bool {
    let holds = |(key, value): &(&str, &str)| match *key {
        "id" => record.id.starts_with(value),
        "name" => record.name.contains(value),
        "driver" => *value == DRIVER,
        "scope" => *value == "local",
        // All of them were made by somebody.
        "type" => *value == "custom",
        "dangling" => matches!(*value, "true" | "1") != used.contains(&record.name),
        _ => {
            let (label, wanted) = match value.split_once('=') {
                Some((label, wanted)) => (label, Some(wanted)),
                None => (*value, None),
            };
            let found = record.labels.get(label);
            found.is_some_and(|found| wanted.is_none_or(|wanted| wanted == found))
        }
    };
    filters.iter().all(|filter| match filter.0 {
        "label" => holds(filter),
        key => filters.iter().filter(|other| other.0 == key).any(holds),
    })
}

fn inspect(networks: &Networks, format: Option<&str>, names: &[String]) -> Status {
    let template = format.map(Template::parse).transpose()?;
    let found: Result<Vec<_>, _> = names.iter().map(|name| networks.find(name)).collect();
    let list: Result<Vec<_>, Failure> = found?.iter().map(to_json).collect();
    let list = list?;
    show_all(template.as_ref(), &list)
}

/// Docker's keys.
fn to_json(record: &Record) -> Result<Value, Failure> {
    let subnets = &record.subnets;
    let members = run::networks::members(&record.name)?;
    let members = members.iter().map(|member| {
        let shown = json!({
            "Name": member.name,
            "IPv4Address": format!("{}/{}", member.v4, subnets.bits),
            "IPv6Address": format!("{}/{PREFIX_V6}", member.v6),
        });
        (member.id.clone(), shown)
    });
    let members: Map<_, _> = members.collect();
    let (gateway_v4, gateway_v6) = subnets.gateway();
    Ok(json!({
        "Name": record.name,
        "Id": record.id,
        "Created": time::show(record.created),
        "Scope": "local",
        "Driver": DRIVER,
        "EnableIPv6": true,
        "IPAM": {
            "Driver": "default",
            "Config": [
                { "Subnet": format!("{}/{}", subnets.v4, subnets.bits), "Gateway": gateway_v4 },
                { "Subnet": format!("{}/{PREFIX_V6}", subnets.v6), "Gateway": gateway_v6 },
            ],
        },
        "Internal": record.internal,
        "Containers": members,
        "Options": {},
        "Labels": record.labels,
    }))
}

/// The networks on which machines are, or are to be.
fn used() -> Result<BTreeSet<String>, Failure> {
    let all = run::machines()?.list(false).map_err(run::Error::from)?;
    let joinings = all
        .into_iter()
        .flat_map(|machine| machine.record.request.networks);
    Ok(joinings.map(|joining| joining.network).collect())
}

/// The machine that is, or is to be, on the network `name`, if one is.
fn user(name: &str) -> Result<Option<String>, run::Error> {
    let all = run::machines()?.list(false)?;
    let is_on = |machine: &Listed| {
        let mut joinings = machine.record.request.networks.iter();
        joinings.any(|joining| joining.network == name)
    };
    Ok(all
        .into_iter()
        .find(is_on)
        .map(|machine| machine.record.name))
}

/// Removes those that can be, and tells of the others.
fn remove(networks: &Networks, force: bool, names: &[String]) -> Status {
    let mut status = 0;
    for name in names {
        let removed = match networks.find(name) {
            Err(networks::Error::Unknown { .. }) if force => continue,
            _ => networks.remove(name, user),
        };
        match removed {
            Ok(record) => {
                run::networks::note(&record, "destroy");
                say(&format!("{name}\n"))?;
            }
            Err(error) => status = tell(error),
        }
    }
    Ok(status)
}

/// Tells of one that stays, and with what status that ends.
fn tell(error: run::Error) -> u8 {
    let failure = Failure::from(error);
    failure.print();
    failure.status()
}

fn prune(networks: &Networks, force: bool) -> Status {
    networks.sweep()?;
    let (all, used) = (networks.list()?, used()?);
    let names = all.into_iter().map(|record| record.name);
    let unused: Vec<_> = names.filter(|name| !used.contains(name)).collect();
    let question = "These networks will be removed";
    if !force && !unused.is_empty() && !confirm(question, &unused)? {
        return Ok(0);
    }
    let mut status = 0;
    for name in unused {
        match networks.remove(&name, user) {
            Ok(record) => {
                run::networks::note(&record, "destroy");
                say(&format!("{name}\n"))?;
            }
            // Somebody has begun to use it, or removed it, since it was listed.
            Err(run::Error::Networks(
                networks::Error::InUse { .. } | networks::Error::Unknown { .. },
            )) => {}
            Err(error) => status = tell(error),
        }
    }
    Ok(status)
}

impl From<networks::Error> for Failure {
    fn from(error: networks::Error) -> Self {
        Self::new(sentence(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_hold_as_dockers_do() {
        let record = Record {
            name: "back".to_owned(),
            id: "ab12".to_owned(),
            created: 0,
            labels: ["tier=data", "x"].map(split_label).into(),
            internal: false,
            subnets: crate::spec::Subnets {
                v4: [10, 5, 0, 0].into(),
                bits: 24,
                v6: 0.into(),
            },
        };
        for (filters, expected) in [
            (&["name=ac"][..], true),
            (&["name=front", "name=ck"], true),
            (&["name=front"], false),
            (&["id=ab", "label=x"], true),
            (&["id=b1"], false),
            (&["label=tier=data", "label=x"], true),
            (&["label=tier=web"], false),
            (&["driver=switch", "scope=local", "type=custom"], true),
            (&["driver=bridge"], false),
            (&["type=builtin"], false),
            (&["dangling=true"], false),
            (&["dangling=false"], true),
        ] {
            let parsed: Vec<_> = filters
                .iter()
                .map(|text| parse_filter(text).unwrap())
                .collect();
            let used = BTreeSet::from(["back".to_owned()]);
            assert_eq!(accepts(&parsed, &record, &used), expected, "{filters:?}");
        }
        for wrong in ["back", "nmae=a", "type=none", "dangling=maybe"] {
            assert!(parse_filter(wrong).is_err(), "{wrong}");
        }
    }
}
