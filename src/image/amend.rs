//! Changes to an image's configuration: words of a Dockerfile, and one more layer with its history (OCI image
//! spec, "Image Configuration"). What nobody changes stays as it came, unknown fields too.

use serde_json::{Map, Value, json};

use super::digest::Digest;
use super::error::Fault;

/// A word of a Dockerfile (docker's reference, "commit --change").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `CMD`.
    Cmd(Vec<String>),
    /// `ENTRYPOINT`.
    Entrypoint(Vec<String>),
    /// `ENV`: a key and its value.
    Env(String, String),
    /// An `ENV` that goes.
    Unset(String),
    /// `EXPOSE`: `80/tcp`.
    Expose(String),
    /// `LABEL`: a key and its value.
    Label(String, String),
    /// `USER`.
    User(String),
    /// `VOLUME`.
    Volume(String),
    /// `WORKDIR`.
    Workdir(String),
    /// `STOPSIGNAL`.
    StopSignal(String),
}

/// What becomes of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Amendment {
    /// In this order.
    pub instructions: Vec<Instruction>,
    /// When, RFC 3339.
    pub created: String,
    /// What made the layer.
    pub created_by: String,
    /// A message for the history.
    pub comment: Option<String>,
    /// Who.
    pub author: Option<String>,
}

impl Instruction {
    /// Reads `CMD ["a", "b"]`, `ENV A=1 B="2 3"` and so on; an error is one line.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let (verb, rest) = text
            .trim()
            .split_once(char::is_whitespace)
            .unwrap_or((text, ""));
        let rest = rest.trim();
        if rest.is_empty() {
            return Err(format!(
                "`{text}`: write an instruction and its value, as `CMD [\"sh\"]`"
            ));
        }
        let one = |instruction| Ok(vec![instruction]);
        match verb.to_ascii_uppercase().as_str() {
            "CMD" => one(Self::Cmd(command(rest)?)),
            "ENTRYPOINT" => one(Self::Entrypoint(command(rest)?)),
            "ENV" => Ok(pairs(rest)?
                .map(|(key, value)| Self::Env(key, value))
                .collect()),
            "LABEL" => Ok(pairs(rest)?
                .map(|(key, value)| Self::Label(key, value))
                .collect()),
            "EXPOSE" => words(rest)?.iter().map(|port| expose(port)).collect(),
            "USER" => one(Self::User(rest.to_owned())),
            "VOLUME" => Ok(list(rest)?.into_iter().map(Self::Volume).collect()),
            "WORKDIR" => one(Self::Workdir(rest.to_owned())),
            "STOPSIGNAL" => one(Self::StopSignal(rest.to_owned())),
            _ => Err(format!(
                "`{verb}` cannot be changed: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR and \
                 STOPSIGNAL can"
            )),
        }
    }

    fn apply(&self, config: &mut Map<String, Value>) {
        let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
        match self {
            Self::Cmd(words) => set("Cmd", json!(words)),
            Self::Entrypoint(words) => {
                // Docker's rule: the image's arguments are for the image's own entry point.
                set("Cmd", Value::Null);
                set("Entrypoint", json!(words));
            }
            Self::User(user) => set("User", json!(user)),
            Self::StopSignal(signal) => set("StopSignal", json!(signal)),
            Self::Workdir(path) => {
                let above = config
                    .get("WorkingDir")
                    .and_then(Value::as_str)
                    .unwrap_or("/");
                let path = match path.starts_with('/') {
                    true => path.clone(),
                    false => format!("{}/{path}", above.trim_end_matches('/')),
                };
                config.insert("WorkingDir".to_owned(), json!(path));
            }
            Self::Expose(port) => {
                drop(part(config, "ExposedPorts").insert(port.clone(), json!({})))
            }
            Self::Volume(path) => drop(part(config, "Volumes").insert(path.clone(), json!({}))),
            Self::Label(key, value) => {
                drop(part(config, "Labels").insert(key.clone(), json!(value)))
            }
            Self::Env(key, value) => set_env(config, key, Some(value)),
            Self::Unset(key) => set_env(config, key, None),
        }
    }
}

/// An object in the configuration, made where there is none.
fn part<'a>(config: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = config.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("an object, as was seen above")
}

fn set_env(config: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    let old = config.get("Env").and_then(Value::as_array);
    let mut env: Vec<Value> = old.cloned().unwrap_or_default();
    let begins = format!("{key}=");
    let place = env
        .iter()
        .position(|pair| pair.as_str().is_some_and(|pair| pair.starts_with(&begins)));
    match (place, value) {
        (Some(place), Some(value)) => env[place] = json!(begins + value),
        (None, Some(value)) => env.push(json!(begins + value)),
        (Some(place), None) => drop(env.remove(place)),
        (None, None) => {}
    }
    config.insert("Env".to_owned(), Value::Array(env));
}

/// The configuration `document`, amended, with `layer` on top.
pub fn amend(document: &[u8], layer: Digest, amendment: &Amendment) -> Result<Vec<u8>, Fault> {
    let malformed = |why: String| Fault::Malformed {
        what: "the image configuration".to_owned(),
        why,
    };
    let mut config: Map<String, Value> =
        serde_json::from_slice(document).map_err(|error| malformed(error.to_string()))?;
    for instruction in &amendment.instructions {
        instruction.apply(part(&mut config, "config"));
    }
    let layers = part(&mut config, "rootfs").get_mut("diff_ids");
    let layers = layers.and_then(Value::as_array_mut);
    let layers = layers.ok_or_else(|| malformed("it names no layers".to_owned()))?;
    layers.push(json!(layer.to_string()));
    let mut step = json!({
        "created": amendment.created,
        "created_by": amendment.created_by,
    });
    if let Some(author) = &amendment.author {
        step["author"] = json!(author);
        config.insert("author".to_owned(), json!(author));
    }
    if let Some(comment) = &amendment.comment {
        step["comment"] = json!(comment);
    }
    match config.get_mut("history").and_then(Value::as_array_mut) {
        Some(history) => history.push(step),
        None => drop(config.insert("history".to_owned(), json!([step]))),
    }
    config.insert("created".to_owned(), json!(amendment.created));
    // Docker's notes about the container that the image below was made of.
    for stale in ["container", "container_config"] {
        config.remove(stale);
    }
    serde_json::to_vec(&config).map_err(|error| malformed(error.to_string()))
}

/// `["a", "b"]`, or words for a shell.
fn command(text: &str) -> Result<Vec<String>, String> {
    match text.starts_with('[') {
        true => json_list(text),
        false => Ok(["/bin/sh", "-c", text].map(str::to_owned).to_vec()),
    }
}

/// `["a", "b"]`, or words.
fn list(text: &str) -> Result<Vec<String>, String> {
    match text.starts_with('[') {
        true => json_list(text),
        false => words(text),
    }
}

fn json_list(text: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(text).map_err(|error| format!("`{text}` is no list of words: {error}"))
}

fn expose(port: &str) -> Result<Instruction, String> {
    let (number, kind) = port.split_once('/').unwrap_or((port, "tcp"));
    let legal = number.parse::<u16>().is_ok_and(|number| number > 0);
    match legal && matches!(kind, "tcp" | "udp" | "sctp") {
        true => Ok(Instruction::Expose(format!("{number}/{kind}"))),
        false => Err(format!("`{port}` is no port: write 80 or 53/udp")),
    }
}

/// `KEY=VALUE` each, or one key and the rest of the line.
fn pairs(text: &str) -> Result<impl Iterator<Item = (String, String)>, String> {
    let all = words(text)?;
    let first = all.first().cloned().unwrap_or_default();
    let pairs = if first.contains('=') {
        let split = |word: &String| {
            let pair = word.split_once('=').filter(|(key, _)| !key.is_empty());
            pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
                .ok_or_else(|| format!("`{word}`: write KEY=VALUE"))
        };
        all.iter().map(split).collect::<Result<Vec<_>, _>>()?
    } else {
        let (key, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("`{text}`: write KEY=VALUE"))?;
        vec![(key.to_owned(), value.trim().to_owned())]
    };
    Ok(pairs.into_iter())
}

/// Words as a Dockerfile has them: quotes and backslashes keep blanks together.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(end), letter) if letter == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(format!("`{text}`: a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Instruction> {
        Instruction::parse(text).unwrap()
    }

    #[test]
    fn instructions_are_read_as_dockerfiles_have_them() {
        use Instruction::{Cmd, Entrypoint, Env, Expose, Label, StopSignal, User, Volume, Workdir};
        let text = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let env = |key: &str, value: &str| Env(pair(key, value).0, pair(key, value).1);
        assert_eq!(parse(r#"CMD ["a", "b c"]"#), [Cmd(text(&["a", "b c"]))]);
        assert_eq!(
            parse("cmd echo $HOME"),
            [Cmd(text(&["/bin/sh", "-c", "echo $HOME"]))]
        );
        assert_eq!(parse(r#"ENTRYPOINT ["/x"]"#), [Entrypoint(text(&["/x"]))]);
        assert_eq!(
            parse(r#"ENV A=1 B="2 3" C=4\ 5 D='\'"#),
            [
                env("A", "1"),
                env("B", "2 3"),
                env("C", "4 5"),
                env("D", "\\")
            ]
        );
        assert_eq!(parse("ENV A one two"), [env("A", "one two")]);
        assert_eq!(parse("LABEL k=v=w"), [Label("k".into(), "v=w".into())]);
        assert_eq!(
            parse("EXPOSE 80 53/udp"),
            [Expose("80/tcp".into()), Expose("53/udp".into())]
        );
        assert_eq!(
            parse("VOLUME /a /b"),
            [Volume("/a".into()), Volume("/b".into())]
        );
        assert_eq!(parse("USER 1:2"), [User("1:2".into())]);
        assert_eq!(parse("WORKDIR /x y"), [Workdir("/x y".into())]);
        assert_eq!(parse("STOPSIGNAL SIGINT"), [StopSignal("SIGINT".into())]);
        for wrong in [
            "CMD",
            "RUN ls",
            "ENV A",
            "ENV A=\"1",
            "EXPOSE 0",
            "EXPOSE a",
            "CMD [a]",
            "ENV A=1 b",
        ] {
            assert!(Instruction::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_changed_stays() {
        let base = r#"{"architecture":"amd64","odd":[1],"config":{"Env":["PATH=/bin","A=0"],"Cmd":["x"],
            "WorkingDir":"/srv"},"rootfs":{"type":"layers","diff_ids":["sha256:0"]}}"#;
        let instructions = [
            "ENV A=1 B=2",
            "LABEL k=v",
            "EXPOSE 80",
            "WORKDIR deep",
            "ENTRYPOINT [\"e\"]",
        ];
        let amendment = Amendment {
            instructions: instructions.into_iter().flat_map(parse).collect(),
            created: "2001-01-01T00:00:00Z".to_owned(),
            created_by: "sh".to_owned(),
            comment: Some("why".to_owned()),
            author: None,
        };
        let layer = Digest::of(b"layer");
        let amended = amend(base.as_bytes(), layer, &amendment).unwrap();
        let found: Value = serde_json::from_slice(&amended).unwrap();
        let expected = json!({
            "architecture": "amd64",
            "odd": [1],
            "config": {
                "Env": ["PATH=/bin", "A=1", "B=2"],
                "Cmd": null,
                "WorkingDir": "/srv/deep",
                "Labels": {"k": "v"},
                "ExposedPorts": {"80/tcp": {}},
                "Entrypoint": ["e"],
            },
            "rootfs": {"type": "layers", "diff_ids": ["sha256:0", layer.to_string()]},
            "history": [{"created": "2001-01-01T00:00:00Z", "created_by": "sh", "comment": "why"}],
            "created": "2001-01-01T00:00:00Z",
        });
        assert_eq!(found, expected);
        assert!(amend(b"{}", layer, &amendment).is_err());
    }
}
