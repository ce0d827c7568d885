//! `husk ps`.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};

use super::Status as ExitStatus;
use super::machines::{REFUSED, describe_ports, describe_status, to_json, wall_name};
use super::output::{Failure, say};
use super::template::{Template, align};
use crate::machines::{Listed, Status};
use crate::run;
use crate::spec::time;

/// List machines
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Print IDs only
    #[arg(short, long)]
    quiet: bool,
    /// The N machines made last, running or not
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// The machine made last, running or not
    #[arg(short, long)]
    latest: bool,
    /// Cut nothing short
    #[arg(long)]
    no_trunc: bool,
    /// Only those for which it is so: id, name, label, status, exited, ancestor, network
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print `json`, or what docker's template says, like '{{.Names}}' or 'table {{.ID}}\t{{.Status}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print a JSON list of everything that is known of them
    #[arg(long, conflicts_with_all = ["format", "quiet"])]
    json: bool,
}

/// What `--format` may name, and how a table calls it.
const FIELDS: [(&str, &str); 12] = [
    ("ID", "MACHINE ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Labels", "LABELS"),
    ("Wall", "WALL"),
    ("ExitCode", "EXIT CODE"),
];

/// Letters of a command that a table shows, as docker.
const SHOWN: usize = 20;

/// Lists machines, the newest first.
pub fn ps(args: &Args) -> ExitStatus {
    let filters: Result<Vec<_>, _> = args.filter.iter().map(|text| Filter::parse(text)).collect();
    let filters = filters?;
    let template = match args.format.as_deref() {
        None | Some("table") => None,
        Some(format) => Some(Template::parse(format)?),
    };
    let last = args.last.or(args.latest.then_some(1));
    let by_status = filters
        .iter()
        .any(|filter| matches!(filter, Filter::Status(_) | Filter::Exited(_)));
    let everything = args.all || by_status || last.is_some();
    let mut machines = run::machines()?.list(!everything)?;
    machines.retain(|machine| Filter::accept(&filters, machine));
    machines.truncate(last.unwrap_or(usize::MAX));
    let view = View {
        now: time::now(),
        whole: args.no_trunc,
    };
    let text = if args.json {
        let list: Vec<_> = machines
            .iter()
            .map(|Listed { record, state }| to_json(record, state))
            .collect();
        format!("{}\n", json!(list))
    } else if args.quiet {
        machines
            .iter()
            .map(|machine| format!("{}\n", view.text(machine, "ID")))
            .collect()
    } else if let Some(template) = template {
        let rows: Vec<_> = machines.iter().map(|machine| view.row(machine)).collect();
        template.render(&rows, &FIELDS)?
    } else {
        view.table(&machines)
    };
    say(&text)?;
    Ok(0)
}

/// How machines are shown.
#[derive(Debug, Clone, Copy)]
struct View {
    /// The moment, nanoseconds since 1970.
    now: u64,
    /// Cut nothing short.
    whole: bool,
}

impl View {
    fn table(self, machines: &[Listed]) -> String {
        const COLUMNS: [&str; 7] = [
            "ID",
            "Image",
            "Command",
            "RunningFor",
            "Status",
            "Ports",
            "Names",
        ];
        let title = |name: &str| {
            let mut fields = FIELDS.iter();
            let found = fields.find(|(field, _)| *field == name);
            found.map_or("", |(_, title)| *title)
        };
        let cells: Vec<_> = machines
            .iter()
            .map(|machine| COLUMNS.map(|column| self.text(machine, column)))
            .collect();
        let mut lines = vec![COLUMNS.map(title).to_vec()];
        lines.extend(
            cells
                .iter()
                .map(|row| row.iter().map(Cow::as_ref).collect()),
        );
        align(&lines)
    }

    /// All fields that a format may name.
    fn row(self, machine: &Listed) -> Value {
        let cell = |name: &str| match name {
            "Labels" => json!(machine.record.lifecycle().labels),
            "ExitCode" => json!(machine.state.exit_code),
            _ => json!(self.text(machine, name)),
        };
        let cells = FIELDS
            .iter()
            .map(|(name, _)| ((*name).to_owned(), cell(name)));
        Value::Object(cells.collect())
    }

    fn text<'a>(self, machine: &'a Listed, field: &str) -> Cow<'a, str> {
        let Listed { record, state } = machine;
        let shown = match field {
            "ID" if self.whole => return record.id.long().into(),
            "ID" => return record.id.short().into(),
            "Image" => return record.image.as_str().into(),
            "Names" => return record.name.as_str().into(),
            "Wall" => return wall_name(&record.request.wall).into(),
            "Command" => {
                let command = record.resolved.command.join(" ");
                format!("\"{}\"", shorten(&command, self.whole))
            }
            "CreatedAt" => time::show_plainly(record.created),
            "RunningFor" => {
                let age = Duration::from_nanos(self.now.saturating_sub(record.created));
                format!("{} ago", time::show_length(age))
            }
            "Status" => describe_status(state, self.now),
            "State" => state.status.to_string(),
            "Ports" => describe_ports(&state.ports),
            _ => String::new(),
        };
        shown.into()
    }
}

/// A command on one line, and not longer than a column.
fn shorten(command: &str, whole: bool) -> String {
    let shown: String = command.chars().flat_map(char::escape_debug).collect();
    let shown = shown.replace("\\\"", "\"").replace("\\'", "'");
    match whole || shown.chars().count() <= SHOWN {
        true => shown,
        false => format!("{}…", shown.chars().take(SHOWN - 1).collect::<String>()),
    }
}

/// What a machine must be like to be listed.
#[derive(Debug, PartialEq, Eq)]
enum Filter {
    Id(String),
    Name(String),
    Label(String, Option<String>),
    Status(Status),
    Exited(u8),
    Ancestor(String),
    /// By its name, which an ID has been made.
    Network(String),
}

/// The name of a network that is asked for by its name or ID; as typed where there is none.
fn name_of(asked: String) -> String {
    let networks = run::networks::networks().ok();
    let found = networks.and_then(|networks| networks.find(&asked).ok());
    found.map_or(asked, |record| record.name)
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong =
            |why: String| Failure::new(format!("--filter `{text}`: {why}")).with_status(REFUSED);
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| wrong("write KEY=VALUE".to_owned()))?;
        let value = value.to_owned();
        Ok(match key {
            "id" => Self::Id(value),
            "name" => Self::Name(value),
            "ancestor" => Self::Ancestor(value),
            "network" => Self::Network(name_of(value)),
            "label" => match value.split_once('=') {
                Some((label, value)) => Self::Label(label.to_owned(), Some(value.to_owned())),
                None => Self::Label(value, None),
            },
            "status" => {
                let mut all = Status::ALL.into_iter();
                let known = || Status::ALL.map(|status| status.to_string()).join(", ");
                let found = all.find(|status| status.to_string() == value);
                Self::Status(found.ok_or_else(|| wrong(format!("a status is one of {}", known())))?)
            }
            "exited" => {
                let code = value.parse();
                Self::Exited(code.map_err(|_| wrong("write a number from 0 to 255".to_owned()))?)
            }
            _ => {
                let keys = "id, name, label, status, exited, ancestor and network";
                return Err(wrong(format!("the keys are {keys}")));
            }
        })
    }

    /// As docker: of several filters with the same key one must hold, and of those with different keys all;
    /// of labels all.
    fn accept(filters: &[Self], machine: &Listed) -> bool {
        filters.iter().all(|filter| {
            let same =
                |other: &&Self| std::mem::discriminant(filter) == std::mem::discriminant(*other);
            match filter {
                Self::Label(..) => filter.holds(machine),
                _ => filters
                    .iter()
                    .filter(same)
                    .any(|other| other.holds(machine)),
            }
        })
    }

    fn holds(&self, machine: &Listed) -> bool {
        let Listed { record, state } = machine;
        match self {
            Self::Id(beginning) => record.id.long().starts_with(beginning.as_str()),
            Self::Name(part) => record.name.contains(part.as_str()),
            Self::Status(status) => state.status == *status,
            Self::Exited(code) => state.status == Status::Exited && state.exit_code == *code,
            Self::Ancestor(image) => {
                let digits = record.image_id.strip_prefix("sha256:").unwrap_or("");
                let asked = image.strip_prefix("sha256:").unwrap_or(image);
                let plain = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
                plain(&record.image) == plain(image)
                    || (asked.len() >= 4 && digits.starts_with(asked))
            }
            Self::Network(name) => {
                let request = &record.request;
                match request.networks.is_empty() {
                    true => json!(request.network.clone().unwrap_or_default()) == **name,
                    false => request.networks.iter().any(|on| on.network == *name),
                }
            }
            Self::Label(label, value) => {
                let found = record.lifecycle().labels.get(label);
                found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_understood_or_say_what_there_is() {
        let label = |value: Option<&str>| Filter::Label("a".to_owned(), value.map(str::to_owned));
        let table = [
            ("label=a", label(None)),
            ("label=a=b=c", label(Some("b=c"))),
            ("status=exited", Filter::Status(Status::Exited)),
            ("exited=137", Filter::Exited(137)),
        ];
        for (text, filter) in table {
            assert_eq!(Filter::parse(text).unwrap(), filter, "{text}");
        }
        for (text, word) in [
            ("web", "KEY=VALUE"),
            ("nmae=web", "ancestor"),
            ("status=dead", "created, running"),
            ("exited=256", "0 to 255"),
        ] {
            let failure = Filter::parse(text).unwrap_err();
            assert!(failure.to_string().contains(word), "{failure}");
            assert_eq!(failure.status(), 1);
        }
    }

    #[test]
    fn commands_are_one_short_line() {
        assert_eq!(shorten("sh -c 'a \"b\"'", false), "sh -c 'a \"b\"'");
        assert_eq!(
            shorten("sh -c 'sleep 1000000'", false),
            "sh -c 'sleep 100000…"
        );
        assert_eq!(shorten("a\nb\u{1b}", true), "a\\nb\\u{1b}");
    }
}
