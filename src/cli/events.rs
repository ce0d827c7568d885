//! `husk events`.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::Status as ExitStatus;
use super::machines::REFUSED;
use super::network::DRIVER;
use super::output::Failure;
use super::template::Template;
use crate::machines::{Actor, Event};
use crate::run;
use crate::spec::time::{self, Nanoseconds};

/// Show what happens to machines and networks, as it happens
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Begin with what happened then: a time, or how long ago, like 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End there
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only those for which it is so: container, event, image, label, network, type
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print `json`, or what docker's template says, like '{{.Action}} {{.Actor.ID}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print a JSON document per line
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// How often is looked for more.
const OFTEN: Duration = Duration::from_millis(50);

/// Prints what happened in the time asked for; without an end, until somebody ends it.
pub fn events(args: &Args) -> ExitStatus {
    let now = time::now();
    let moment = |flag: &str, text: &Option<String>| {
        let parsed = text.as_deref().map(|text| time::parse(text, now));
        let wrong = |why| Failure::new(format!("--{flag} {why}")).with_status(REFUSED);
        parsed.transpose().map_err(wrong)
    };
    let since = moment("since", &args.since)?.unwrap_or(now);
    let until = moment("until", &args.until)?.unwrap_or(Nanoseconds::MAX);
    let filters: Result<Vec<_>, _> = args.filter.iter().map(|text| Filter::parse(text)).collect();
    let filters = filters?;
    let format = args.format.as_deref();
    let as_json = args.json || format == Some("json");
    let template = format.map(Template::parse).transpose()?;
    let mut journal = run::machines()?.journal()?;
    loop {
        // Looked at first: what happened before is in the journal then.
        let over = time::now() > until;
        while let Some(event) = journal.advance()? {
            if event.time < since || event.time > until || !Filter::accept(&filters, &event) {
                continue;
            }
            let line = match &template {
                _ if as_json => format!("{}\n", to_json(&event)),
                None => describe(&event),
                Some(template) => template.render(&[for_templates(&event)], &[])?,
            };
            match io::stdout().write_all(line.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
                written => written?,
            }
        }
        if over {
            return Ok(0);
        }
        sleep(OFTEN);
    }
}

/// Docker's line: when, what, on whom, and in brackets the rest in the order of its keys.
fn describe(event: &Event) -> String {
    let rest: Vec<_> = attributes(event)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let (time, kind) = (time::show(event.time), kind(event));
    let (action, id) = (&event.action, &event.id);
    let line = format!("{time} {kind} {action} {id} ({})", rest.join(", "));
    // Labels are a user's, and a line is a line.
    let plain = line.chars().map(|c| if c.is_control() { '?' } else { c });
    plain.chain(['\n']).collect()
}

/// Docker's word for what it happened to.
fn kind(event: &Event) -> &'static str {
    match event.actor {
        Actor::Container => "container",
        Actor::Network => "network",
    }
}

fn attributes(event: &Event) -> impl Iterator<Item = (&str, &str)> {
    let kind = match event.actor {
        Actor::Container => ("image", &*event.image),
        Actor::Network => ("type", DRIVER),
    };
    let own = [kind, ("name", &*event.name)];
    let more = event.attributes.iter();
    let mut all: Vec<_> = own
        .into_iter()
        .chain(more.map(|(key, value)| (&**key, &**value)))
        .collect();
    all.sort_unstable();
    all.into_iter()
}

/// With docker's keys.
fn to_json(event: &Event) -> Value {
    let attributes: serde_json::Map<_, _> = attributes(event)
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    let mut shown = json!({
        "Type": kind(event),
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": attributes },
        "scope": "local",
        "time": event.time / 1_000_000_000,
        "timeNano": event.time,
    });
    // What docker had before there were other types.
    if event.actor == Actor::Container {
        shown["status"] = json!(event.action);
        shown["id"] = json!(event.id);
        shown["from"] = json!(event.image);
    }
    shown
}

/// With what docker's templates call them, too.
fn for_templates(event: &Event) -> Value {
    let mut row = to_json(event);
    for (name, key) in [
        ("ID", "id"),
        ("From", "from"),
        ("Status", "status"),
        ("Scope", "scope"),
        ("Time", "time"),
        ("TimeNano", "timeNano"),
    ] {
        row[name] = row.get(key).cloned().unwrap_or(json!(""));
    }
    row
}

/// What an event must be like to be shown.
#[derive(Debug, PartialEq, Eq)]
enum Filter {
    Container(String),
    Action(String),
    Image(String),
    Label(String, Option<String>),
    Network(String),
    Type(String),
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong =
            |why: &str| Failure::new(format!("--filter `{text}`: {why}")).with_status(REFUSED);
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| wrong("write KEY=VALUE"))?;
        let value = value.to_owned();
        Ok(match key {
            "container" | "machine" => Self::Container(value),
            "event" => Self::Action(value),
            "image" => Self::Image(value),
            "network" => Self::Network(value),
            "type" => Self::Type(value),
            "label" => match value.split_once('=') {
                Some((label, value)) => Self::Label(label.to_owned(), Some(value.to_owned())),
                None => Self::Label(value, None),
            },
            _ => {
                return Err(wrong(
                    "the keys are container, event, image, label, network and type",
                ));
            }
        })
    }

    /// As docker: of several filters with the same key one must hold, and of those with different keys all.
    fn accept(filters: &[Self], event: &Event) -> bool {
        filters.iter().all(|filter| {
            let same = std::mem::discriminant(filter);
            filters
                .iter()
                .filter(|other| std::mem::discriminant(*other) == same)
                .any(|other| other.holds(event))
        })
    }

    fn holds(&self, event: &Event) -> bool {
        let is_it = |actor: Actor, asked: &str| {
            let by_id = asked.len() >= 4 && event.id.starts_with(asked);
            event.actor == actor && (event.name == asked || by_id)
        };
        match self {
            Self::Container(asked) => is_it(Actor::Container, asked),
            Self::Network(asked) => is_it(Actor::Network, asked),
            // `exec_start` holds for `exec_start: CMD`.
            Self::Action(action) => event.action.split(':').next() == Some(action),
            Self::Image(image) => {
                let plain = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
                event.actor == Actor::Container && plain(&event.image) == plain(image)
            }
            Self::Type(asked) => asked == kind(event),
            Self::Label(label, value) => {
                let found = event.attributes.get(label);
                found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            time: 1_000_000_000,
            actor: Actor::Container,
            action: "die".to_owned(),
            id: "ab12".repeat(16),
            name: "web".to_owned(),
            image: "busybox".to_owned(),
            attributes: [("exitCode", "3"), ("tier", "1\n2")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }
    }

    #[test]
    fn an_event_is_one_line_as_docker_writes_it() {
        let id = event().id;
        let line = describe(&event());
        let rest = format!(" container die {id} (exitCode=3, image=busybox, name=web, tier=1?2)\n");
        assert!(line.ends_with(&rest), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn what_happens_to_a_network_is_told_apart() {
        let network = Event {
            actor: Actor::Network,
            action: "connect".to_owned(),
            image: String::new(),
            attributes: [("container".to_owned(), "cd34".to_owned())].into(),
            ..event()
        };
        let (line, id) = (describe(&network), &network.id);
        let rest = format!(" network connect {id} (container=cd34, name=web, type=switch)\n");
        assert!(line.ends_with(&rest), "{line}");
        let shown = for_templates(&network);
        assert_eq!(
            (&shown["Type"], &shown["ID"]),
            (&json!("network"), &json!(""))
        );
        for (text, of_network, of_machine) in [
            ("type=network", true, false),
            ("type=container", false, true),
            ("network=web", true, false),
            ("container=web", false, true),
            ("network=ab12", true, false),
        ] {
            let filter = [Filter::parse(text).unwrap()];
            let found = [&network, &event()].map(|event| Filter::accept(&filter, event));
            assert_eq!(found, [of_network, of_machine], "{text}");
        }
        // What was written before there were networks is about machines.
        let old = serde_json::to_string(&event()).unwrap();
        assert!(!old.contains("actor"), "{old}");
        assert_eq!(serde_json::from_str::<Event>(&old).unwrap(), event());
    }

    #[test]
    fn filters_of_one_key_are_alternatives_and_of_several_conditions() {
        let holds = |texts: &[&str]| {
            let filters: Vec<_> = texts
                .iter()
                .map(|text| Filter::parse(text).unwrap())
                .collect();
            Filter::accept(&filters, &event())
        };
        assert!(holds(&[]) && holds(&["event=die"]) && holds(&["event=start", "event=die"]));
        assert!(holds(&[
            "container=web",
            "label=exitCode=3",
            "image=busybox:latest"
        ]));
        assert!(!holds(&["container=web", "event=start"]) && !holds(&["label=exitCode=4"]));
        assert!(holds(&["container=ab12ab12"]) && !holds(&["container=ab1"]));
        assert!(
            Filter::parse("who=me")
                .unwrap_err()
                .to_string()
                .contains("container, event")
        );
    }
}
