//! The configuration file: what a user wants of every command line without typing it.
//!
//! ```toml
//! # ~/.config/husk/config.toml
//! [run]
//! memory = "1g"
//! cpus = 2
//! tmpfs = ["/tmp:size=256m"]
//! ```
//!
//! A section is a verb, a key one of its long flags, a value what one would type behind it, `true` for a
//! flag that takes none, and a list for one that may be repeated. What is typed wins. Nothing is
//! guessed: a verb, a flag or a kind of value that does not exist is an error, with its place.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Command};
use toml::{Table, Value};

use super::output::Failure;

/// Where the file is: `$HUSK_CONFIG`, else `$XDG_CONFIG_HOME/husk/config.toml`, else below `~/.config`.
pub fn default_path() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    let in_home = || set("HOME").map(|home| PathBuf::from(home).join(".config"));
    set("HUSK_CONFIG").map(PathBuf::from).or_else(|| {
        let folder = set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(in_home)?;
        Some(folder.join("husk/config.toml"))
    })
}

/// The file's text; nobody needs to have one, except who names it.
pub fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        // Also who may not look there has none: a home may be somebody else's, as under sudo.
        Err(error) if is_absence(error.kind()) && !is_named() => Ok(None),
        Err(error) => Err(Failure::new(format!(
            "cannot read the configuration file `{}`: {error}",
            path.display()
        ))),
    }
}

fn is_absence(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(kind, NotFound | NotADirectory | PermissionDenied)
}

fn is_named() -> bool {
    env::var_os("HUSK_CONFIG").is_some_and(|value| !value.is_empty())
}

/// The command line with the file's wishes as its defaults.
pub fn apply(command: Command, path: &Path, text: &str) -> Result<Command, Failure> {
    let wrong = |what: &str| Failure::new(format!("`{}`: {what}", path.display()));
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .map_or(0, |span| text[..span.start].matches('\n').count());
        wrong(&format!("line {}: {}", line + 1, error.message()))
    })?;
    table
        .into_iter()
        .try_fold(command, |command, (verb, section)| {
            let Value::Table(section) = section else {
                return Err(wrong(&format!(
                    "`{verb}` must stand in the section of a verb, like [run]"
                )));
            };
            if command.find_subcommand(&verb).is_none() {
                return Err(wrong(&format!(
                    "[{verb}] is no verb of husk: see `husk help`"
                )));
            }
            let mut refused = None;
            let command = command.mut_subcommand(&verb, |verb_command| {
                section
                    .into_iter()
                    .fold(verb_command, |verb_command, (flag, value)| {
                        let wished = wish(verb_command.clone(), &flag, &value);
                        wished.unwrap_or_else(|what| {
                            refused.get_or_insert(format!("[{verb}] {flag}: {what}"));
                            verb_command
                        })
                    })
            });
            refused.map_or(Ok(command), |what| Err(wrong(&what)))
        })
}

/// `command` with `value` as the default of its flag.
fn wish(command: Command, flag: &str, value: &Value) -> Result<Command, String> {
    let found = command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(flag));
    let Some(arg) = found.filter(|arg| !arg.is_hide_set()) else {
        return Err(format!(
            "no such flag: see `husk {} --help`",
            command.get_name()
        ));
    };
    let (id, action) = (arg.get_id().clone(), arg.get_action().clone());
    let words = words(&action, value)?;
    Ok(command.mut_arg(id, |arg| match action {
        ArgAction::SetTrue => arg.default_value(words.concat()),
        _ => arg.default_values(words),
    }))
}

/// What one would type for `value` behind a flag of this kind.
fn words(action: &ArgAction, value: &Value) -> Result<Vec<String>, String> {
    match (action, value) {
        (ArgAction::SetTrue, Value::Boolean(on)) => Ok(vec![on.to_string()]),
        (ArgAction::SetTrue, _) => Err("write true or false".to_owned()),
        (ArgAction::Append, Value::Array(list)) => list.iter().map(word).collect(),
        (ArgAction::Append | ArgAction::Set, value) => Ok(vec![word(value)?]),
        _ => Err("this flag has no default to set".to_owned()),
    }
}

fn word(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        _ => {
            Err("write a string or a number, or a list of them for a flag that repeats".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn command() -> Command {
        let run = Command::new("run")
            .arg(Arg::new("memory").long("memory"))
            .arg(Arg::new("rm").long("rm").action(ArgAction::SetTrue))
            .arg(Arg::new("tmpfs").long("tmpfs").action(ArgAction::Append))
            .arg(Arg::new("secret").long("secret").hide(true));
        Command::new("husk").subcommand(run)
    }

    fn with(text: &str) -> Result<Command, String> {
        apply(command(), Path::new("/c.toml"), text).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn wishes_are_defaults_and_what_is_typed_wins() {
        let text = "[run]\nmemory = \"1g\"\nrm = true\ntmpfs = [\"/a\", \"/b\"]\n";
        let of = |words: &[&str]| {
            let words = [&["husk", "run"], words].concat();
            let matches = with(text).unwrap().try_get_matches_from(words).unwrap();
            let run = matches.subcommand_matches("run").unwrap();
            let list = run.get_many::<String>("tmpfs").unwrap();
            (
                run.get_one::<String>("memory").unwrap().clone(),
                run.get_flag("rm"),
                list.cloned().collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(&[]), ("1g".into(), true, vec!["/a".into(), "/b".into()]));
        let typed = of(&["--memory", "2g", "--tmpfs", "/c"]);
        assert_eq!(typed, ("2g".into(), true, vec!["/c".into()]));
    }

    #[test]
    fn numbers_are_what_one_would_type() {
        let matches = with("[run]\nmemory = 1048576\n").unwrap();
        let matches = matches.try_get_matches_from(["husk", "run"]).unwrap();
        let run = matches.subcommand_matches("run").unwrap();
        assert_eq!(run.get_one::<String>("memory").unwrap(), "1048576");
    }

    #[test]
    fn what_does_not_exist_has_a_place() {
        for (text, says) in [
            ("[run]\nmemory = ", "line 2"),
            ("memory = \"1g\"", "section of a verb"),
            ("[walk]\nfar = true", "[walk] is no verb"),
            ("[run]\nmemroy = \"1g\"", "[run] memroy: no such flag"),
            ("[run]\nsecret = \"1g\"", "no such flag"),
            ("[run]\nrm = \"yes\"", "[run] rm: write true or false"),
            ("[run]\nmemory = [\"1g\"]", "write a string or a number"),
        ] {
            let error = with(text).unwrap_err();
            assert!(error.contains(says) && error.contains("/c.toml"), "{error}");
        }
    }
}
