//! `--format`: what docker's users know of Go's templates. Text, and in double braces `.Field`,
//! `.Field.Field`, `json .Field`, `.Label "key"`, `index .Field "key"`, `upper`, `lower`; `\t` and `\n` in the
//! text. `table …` puts a header over it and aligns the columns; `json` alone is a document per line.

use std::iter;

use serde_json::{Value, json};

use super::Status;
use super::output::{Failure, say};

/// Prints `list` as a template says, or else as JSON.
pub fn show_all(template: Option<&Template>, list: &[Value]) -> Status {
    say(&match template {
        Some(template) => template.render(list, &[])?,
        None => format!("{:#}\n", json!(list)),
    })?;
    Ok(0)
}

/// A format that was understood.
#[derive(Debug)]
pub struct Template {
    parts: Vec<Part>,
    is_table: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field {
        shown: Shown,
        path: Vec<String>,
        key: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Plain,
    Json,
    Upper,
    Lower,
}

impl Template {
    /// Understands `text`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let (body, is_table) = match text.strip_prefix("table ") {
            Some(body) => (body, true),
            None => (text, false),
        };
        let body = if text == "json" { "{{json .}}" } else { body };
        let mut parts = Vec::new();
        let mut rest = body;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after
                .split_once("}}")
                .ok_or_else(|| wrong(text, "a `{{` has no `}}`"))?;
            parts.push(Part::Text(unescape(before)));
            parts.push(parse_action(action.trim()).map_err(|why| wrong(text, &why))?);
            rest = after;
        }
        parts.push(Part::Text(unescape(rest)));
        Ok(Self { parts, is_table })
    }

    /// One line for each of `rows`: objects that have all `fields`, or any where there are none. With a
    /// header if it is a table.
    pub fn render(&self, rows: &[Value], fields: &[(&str, &str)]) -> Result<String, Failure> {
        if !fields.is_empty() {
            self.check(fields)?;
        }
        let lines: Result<Vec<_>, _> = rows.iter().map(|row| self.line(row)).collect();
        let mut lines = lines?;
        if !self.is_table {
            return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
        }
        lines.insert(0, self.header(fields));
        let cells = lines.iter().map(|line| line.split('\t').collect());
        Ok(align(&cells.collect::<Vec<Vec<&str>>>()))
    }

    fn check(&self, fields: &[(&str, &str)]) -> Result<(), Failure> {
        for part in &self.parts {
            let Part::Field { path, .. } = part else {
                continue;
            };
            let Some(first) = path.first() else { continue };
            if !fields.iter().any(|(name, _)| name == first) {
                let names: Vec<_> = fields.iter().map(|(name, _)| format!(".{name}")).collect();
                let names = names.join(" ");
                return Err(failure(format!(
                    "--format: no field `.{first}`; the fields are {names}"
                )));
            }
        }
        Ok(())
    }

    fn header(&self, fields: &[(&str, &str)]) -> String {
        let title = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field { key: Some(key), .. } => key.clone(),
            Part::Field { path, .. } => {
                let name = path.last().map_or("", String::as_str);
                let title = fields.iter().find(|(field, _)| *field == name);
                title.map_or_else(|| name.to_uppercase(), |(_, title)| (*title).to_owned())
            }
        };
        self.parts.iter().map(title).collect()
    }

    fn line(&self, row: &Value) -> Result<String, Failure> {
        let mut line = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Field { shown, path, key } => {
                    let value = find(row, path)?;
                    let value = match key {
                        Some(key) => value.get(key).unwrap_or(&Value::Null),
                        None => value,
                    };
                    line.push_str(&show(value, *shown, key.is_some()));
                }
            }
        }
        Ok(line)
    }
}

/// Blanks between two columns.
const GAP: usize = 3;

/// Rows in columns, three spaces apart, without trailing ones.
pub fn align(rows: &[Vec<&str>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; columns];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut gap = 0;
        for (cell, width) in row.iter().zip(&widths) {
            if !cell.is_empty() {
                text.extend(iter::repeat_n(' ', gap));
                text.push_str(cell);
                gap = 0;
            }
            gap += GAP + width - cell.chars().count();
        }
        // Nothing ends in blanks, whatever a cell ends in.
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

fn parse_action(action: &str) -> Result<Part, String> {
    let mut words = split_words(action)?.into_iter();
    let first = words.next().ok_or("`{{}}` is empty")?;
    let (shown, field) = match first.as_str() {
        "json" => (Shown::Json, words.next()),
        "upper" => (Shown::Upper, words.next()),
        "lower" => (Shown::Lower, words.next()),
        "index" => (Shown::Plain, words.next()),
        _ => (Shown::Plain, Some(first.clone())),
    };
    let field = field.ok_or_else(|| format!("`{first}` needs a field"))?;
    let path = field.strip_prefix('.').ok_or_else(|| {
        format!(
            "`{field}` is neither a field, which begins with a dot, nor json, index, upper or lower"
        )
    })?;
    let mut path: Vec<_> = path
        .split('.')
        .map(str::to_owned)
        .filter(|p| !p.is_empty())
        .collect();
    let key = words.next().map(|word| word.trim_matches('"').to_owned());
    match (&key, path.as_slice()) {
        (Some(_), [label]) if label == "Label" => path = vec!["Labels".to_owned()],
        (Some(_), _) if first != "index" => return Err(format!("`{action}` has a word too many")),
        (None, _) if first == "index" => return Err("`index` needs a field and a key".to_owned()),
        _ => {}
    }
    match words.next() {
        Some(_) => Err(format!("`{action}` has a word too many")),
        None => Ok(Part::Field { shown, path, key }),
    }
}

/// Words, and texts in quotes.
fn split_words(action: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = action.trim_start();
    while !rest.is_empty() {
        let end = match rest.strip_prefix('"') {
            Some(inner) => inner
                .find('"')
                .map(|end| end + 2)
                .ok_or("a quote is not closed")?,
            None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        words.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    Ok(words)
}

fn find<'v>(row: &'v Value, path: &[String]) -> Result<&'v Value, Failure> {
    let mut value = row;
    for (depth, name) in path.iter().enumerate() {
        value = value.get(name).ok_or_else(|| {
            let known = value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| format!(".{key}"));
            let known = known.collect::<Vec<_>>().join(" ");
            let place = path[..depth].join(".");
            failure(match known.is_empty() {
                true => format!("--format: `.{place}` has no field `.{name}`, and no other either"),
                false => {
                    format!("--format: no field `.{name}` in `.{place}`; the fields are {known}")
                }
            })
        })?;
    }
    Ok(value)
}

fn show(value: &Value, shown: Shown, is_lookup: bool) -> String {
    let text = match (value, shown) {
        (value, Shown::Json) => value.to_string(),
        (Value::String(text), _) => text.clone(),
        (Value::Null, _) if is_lookup => String::new(),
        (Value::Null, _) => "<no value>".to_owned(),
        (Value::Array(items), _) => {
            let items: Vec<_> = items
                .iter()
                .map(|item| show(item, Shown::Plain, false))
                .collect();
            format!("[{}]", items.join(" "))
        }
        (Value::Object(pairs), _) => {
            let pair = |(key, value): (&String, &Value)| {
                format!("{key}:{}", show(value, Shown::Plain, false))
            };
            format!(
                "map[{}]",
                pairs.iter().map(pair).collect::<Vec<_>>().join(" ")
            )
        }
        (other, _) => other.to_string(),
    };
    match shown {
        Shown::Upper => text.to_uppercase(),
        Shown::Lower => text.to_lowercase(),
        Shown::Plain | Shown::Json => text,
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn wrong(format: &str, why: &str) -> Failure {
    failure(format!("--format `{format}`: {why}"))
}

/// As docker: a wrong format is the user's, and status 1.
fn failure(text: String) -> Failure {
    Failure::new(text).with_status(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIELDS: [(&str, &str); 3] =
        [("Names", "NAMES"), ("State", "STATE"), ("Labels", "LABELS")];

    fn render(format: &str) -> Result<String, String> {
        let rows = [
            json!({ "Names": "web", "State": "running", "Labels": { "a": "1", "b.c": "2" } }),
            json!({ "Names": "a-long-one", "State": "exited", "Labels": {} }),
        ];
        let rendered = Template::parse(format).and_then(|template| template.render(&rows, &FIELDS));
        rendered.map_err(|failure| failure.to_string())
    }

    #[test]
    fn formats_give_what_docker_gives() {
        let table = [
            ("{{.Names}}", "web\na-long-one\n"),
            (
                "{{ .Names }}: {{.State}}",
                "web: running\na-long-one: exited\n",
            ),
            (
                "{{upper .State}}\\t{{json .Names}}",
                "RUNNING\t\"web\"\nEXITED\t\"a-long-one\"\n",
            ),
            ("{{.Label \"a\"}}|{{index .Labels \"b.c\"}}", "1|2\n|\n"),
            ("{{.Labels}}", "map[a:1 b.c:2]\nmap[]\n"),
            (
                "table {{.Names}}\\t{{.State}}",
                "NAMES        STATE\nweb          running\na-long-one   exited\n",
            ),
            ("plain", "plain\nplain\n"),
        ];
        for (format, expected) in table {
            assert_eq!(render(format).as_deref(), Ok(expected), "{format}");
        }
        let lines = render("json").unwrap();
        assert!(
            lines
                .lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok())
        );
    }

    #[test]
    fn a_wrong_format_says_what_there_is() {
        let table = [
            ("{{.Nmae}}", ".Names .State .Labels"),
            ("{{.Names.First}}", "no field `.First`"),
            ("{{.Names", "no `}}`"),
            ("{{}}", "empty"),
            ("{{range .}}", "begins with a dot"),
            ("{{.Names .State}}", "a word too many"),
            ("{{index .Labels}}", "a key"),
            ("{{json}}", "needs a field"),
            ("{{.Label \"x}}", "not closed"),
        ];
        for (format, expected) in table {
            let error = render(format).unwrap_err();
            assert!(error.contains(expected), "{format}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_format_is_a_panic(format in "[{}. a-zL\"\\\\tjson]{0,30}") {
            let _said = render(&format);
        }
    }
}
