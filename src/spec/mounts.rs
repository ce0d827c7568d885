//! `-v` and `--mount`, as docker writes them.
//!
//! ```text
//! -v HOST:TARGET[:OPTION,…]                      a directory or file of the host
//! -v NAME:TARGET[:OPTION,…]                      a named volume, made if there is none
//! -v TARGET                                      a volume of this run alone
//! --mount type=bind|volume|tmpfs,source=…,target=…[,readonly]
//! ```

use std::path::{Path, PathBuf};

use husk_init::job::Tmpfs;
use serde::{Deserialize, Serialize};

/// Where a mount's files are on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A directory or a file, absolute.
    Host(PathBuf),
    /// A named volume.
    Volume {
        /// Its name.
        name: String,
        /// Whether it takes what the image has at the target while it is empty.
        seeded: bool,
    },
}

/// Which ids in the guest stand for the user that runs husk; `None` is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Owner {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

/// Files of the host that the workload sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where they are.
    pub origin: Origin,
    /// Where the workload sees them: absolute, without `.` and `..`.
    pub target: String,
    /// Whether it may not change them.
    pub read_only: bool,
    /// Whose they are.
    pub owner: Owner,
}

/// One word of the user's about mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Files of the host.
    Files(Mount),
    /// A volume of this run alone.
    Anonymous(String),
    /// A file system in memory.
    Memory(Tmpfs),
}

impl Wanted {
    /// Where it is to be.
    pub fn target(&self) -> &[u8] {
        match self {
            Self::Files(mount) => mount.target.as_bytes(),
            Self::Anonymous(target) => target.as_bytes(),
            Self::Memory(tmpfs) => &tmpfs.path,
        }
    }
}

/// Parses the value of `-v`. A relative source begins with a dot; another word is a volume's name.
pub fn parse_volume(text: &str) -> Result<Wanted, String> {
    let at = |problem: String| format!("-v `{text}`: {problem}");
    let words: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match words[..] {
        [target] => return clean(target).map(Wanted::Anonymous).map_err(at),
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err(at("write SOURCE:TARGET[:OPTIONS]".to_owned())),
    };
    let mut mount = Mount {
        origin: parse_source(source).map_err(at)?,
        target: clean(target).map_err(at)?,
        read_only: false,
        owner: Owner::default(),
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        mount.apply(option).map_err(at)?;
    }
    Ok(Wanted::Files(mount))
}

/// Parses the value of `--mount`: `KEY=VALUE` each, in any order.
pub fn parse_mount(text: &str) -> Result<Wanted, String> {
    let at = |problem: String| format!("--mount `{text}`: {problem}");
    let mut keys = Keys::default();
    for word in text.split(',') {
        keys.take(word).map_err(at)?;
    }
    keys.finish().map_err(at)
}

impl Mount {
    /// One option of `-v`.
    fn apply(&mut self, option: &str) -> Result<(), String> {
        match option.split_once('=') {
            Some(("uid", id)) => self.owner.uid = Some(parse_id(id)?),
            Some(("gid", id)) => self.owner.gid = Some(parse_id(id)?),
            None if option == "ro" => self.read_only = true,
            None if option == "rw" => self.read_only = false,
            None if option == "nocopy" => match &mut self.origin {
                Origin::Volume { seeded, .. } => *seeded = false,
                Origin::Host(_) => return Err("nocopy is for named volumes".to_owned()),
            },
            // What every mount here is already, or what this host has no use for: labels of SELinux,
            // and how docker's desktop keeps a Mac's files in step.
            None if matches!(
                option,
                "z" | "Z"
                    | "private"
                    | "rprivate"
                    | "bind"
                    | "rbind"
                    | "consistent"
                    | "cached"
                    | "delegated"
            ) => {}
            _ => {
                return Err(format!(
                    "option `{option}` is unknown; the options are ro, rw, nocopy, uid=N, gid=N"
                ));
            }
        }
        Ok(())
    }
}

/// What the words of a `--mount` said so far.
#[derive(Default)]
struct Keys<'w> {
    kind: Option<&'w str>,
    source: Option<&'w str>,
    target: Option<&'w str>,
    options: Vec<String>,
    tmpfs: Vec<String>,
}

impl<'w> Keys<'w> {
    fn take(&mut self, word: &'w str) -> Result<(), String> {
        let (key, value) = word
            .split_once('=')
            .map_or((word, None), |(key, value)| (key, Some(value)));
        let needed = || value.ok_or_else(|| format!("`{key}` needs a value"));
        match key {
            "type" => self.kind = Some(needed()?),
            "source" | "src" => self.source = Some(needed()?),
            "target" | "dst" | "destination" => self.target = Some(needed()?),
            "readonly" | "ro" if parse_flag(key, value)? => self.options.push("ro".to_owned()),
            "volume-nocopy" if parse_flag(key, value)? => self.options.push("nocopy".to_owned()),
            "readonly" | "ro" | "volume-nocopy" | "consistency" => {}
            "bind-propagation" => self.options.push(needed()?.to_owned()),
            "uid" | "gid" => self.options.push(word.to_owned()),
            "tmpfs-size" => self.tmpfs.push(format!("size={}", needed()?)),
            "tmpfs-mode" => self.tmpfs.push(format!("mode={}", needed()?)),
            _ => {
                return Err(format!(
                    "`{key}` is unknown; write type, source, target, readonly, volume-nocopy, \
                     tmpfs-size, tmpfs-mode, uid or gid"
                ));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Wanted, String> {
        let target = self.target.ok_or("it has no target")?;
        let target = clean(target)?;
        let kind = self.kind.unwrap_or("volume");
        if kind != "tmpfs" && !self.tmpfs.is_empty() {
            return Err("tmpfs-size and tmpfs-mode need type=tmpfs".to_owned());
        }
        let origin = match (kind, self.source) {
            ("tmpfs", None) => return Ok(self.memory(target)),
            ("tmpfs", Some(_)) => return Err("a tmpfs has no source".to_owned()),
            ("volume", None) => return Ok(Wanted::Anonymous(target)),
            ("volume", Some(name)) => parse_name(name)?,
            ("bind", Some(source)) => match parse_source(source)? {
                Origin::Volume { .. } => {
                    return Err(format!(
                        "source `{source}`: write an absolute path, or ./PATH"
                    ));
                }
                host @ Origin::Host(_) => host,
            },
            ("bind", None) => return Err("it has no source".to_owned()),
            (other, _) => {
                return Err(format!(
                    "type `{other}` is unknown; the types are bind, volume and tmpfs"
                ));
            }
        };
        let mut mount = Mount {
            origin,
            target,
            read_only: false,
            owner: Owner::default(),
        };
        for option in &self.options {
            mount.apply(option)?;
        }
        Ok(Wanted::Files(mount))
    }

    fn memory(self, target: String) -> Wanted {
        let read_only = self.options.iter().filter(|option| *option == "ro");
        let options: Vec<&str> = self
            .tmpfs
            .iter()
            .chain(read_only)
            .map(String::as_str)
            .collect();
        Wanted::Memory(Tmpfs {
            path: target.into(),
            options: options.join(",").into(),
        })
    }
}

fn parse_flag(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("`{key}={other}`: write true or false")),
    }
}

fn parse_id(text: &str) -> Result<u32, String> {
    // The largest number means nobody at all (chown(2)).
    text.parse()
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| format!("id `{text}`: write a number"))
}

/// What was typed behind `-v` in the directory `here`, for who reads it elsewhere.
pub fn anchor_volume(text: &str, here: &str) -> String {
    match text.split_once(':') {
        Some((source, rest)) if source.starts_with('.') => format!("{here}/{source}:{rest}"),
        _ => text.to_owned(),
    }
}

/// What was typed behind `--mount` in the directory `here`, for who reads it elsewhere.
pub fn anchor_mount(text: &str, here: &str) -> String {
    let words = text.split(',').map(|word| match word.split_once('=') {
        Some((key @ ("source" | "src"), path)) if path.starts_with('.') => {
            format!("{key}={here}/{path}")
        }
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(",")
}

/// A path if it looks like one, else a volume's name.
fn parse_source(source: &str) -> Result<Origin, String> {
    if source.starts_with(['/', '.']) {
        let path = std::path::absolute(Path::new(source));
        return path
            .map(Origin::Host)
            .map_err(|error| format!("source `{source}`: {error}"));
    }
    parse_name(source)
}

fn parse_name(name: &str) -> Result<Origin, String> {
    check_volume_name(name)?;
    Ok(Origin::Volume {
        name: name.to_owned(),
        seeded: true,
    })
}

/// Docker's rule for the names of volumes.
pub fn check_volume_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() > 1
        && name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(legal)
    {
        return Ok(());
    }
    Err(format!(
        "volume name `{name}`: write letters, digits, _ . and -, two at least; a directory is /PATH or ./PATH"
    ))
}

/// The target without `//`, `.` and `..`; the root is none.
fn clean(target: &str) -> Result<String, String> {
    if !target.starts_with('/') {
        return Err(format!("target `{target}`: write an absolute path"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(format!("target `{target}`: the root is the image's"));
    }
    Ok(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(wanted: Result<Wanted, String>) -> Mount {
        match wanted {
            Ok(Wanted::Files(mount)) => mount,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn volumes_read_as_docker_reads_them() {
        let mount = files(parse_volume("/srv/data:/data//./x/../y:ro,uid=1000,z"));
        assert_eq!(mount.origin, Origin::Host("/srv/data".into()));
        assert_eq!((mount.target.as_str(), mount.read_only), ("/data/y", true));
        assert_eq!((mount.owner.uid, mount.owner.gid), (Some(1000), None));
        let here = std::env::current_dir().unwrap();
        let relative = files(parse_volume("./a:/a"));
        assert_eq!(relative.origin, Origin::Host(here.join("a")));
        let named = files(parse_volume("db-1:/var/lib/db:nocopy"));
        let name = "db-1".to_owned();
        let seeded = false;
        assert_eq!(named.origin, Origin::Volume { name, seeded });
        let anonymous = Wanted::Anonymous("/cache".to_owned());
        assert_eq!(parse_volume("/cache"), Ok(anonymous));
    }

    #[test]
    fn mounts_read_as_docker_reads_them() {
        let bind = files(parse_mount("type=bind,src=/a,dst=/b,readonly"));
        assert_eq!(bind.origin, Origin::Host("/a".into()));
        assert!(bind.read_only);
        let writable = files(parse_mount("type=bind,source=/a,target=/b,readonly=false"));
        assert!(!writable.read_only);
        let volume = files(parse_mount("source=data,target=/b,volume-nocopy"));
        assert!(matches!(
            volume.origin,
            Origin::Volume { seeded: false, .. }
        ));
        let memory = parse_mount("type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=700,ro");
        let options = b"size=1m,mode=700,ro".to_vec();
        let path = b"/t".to_vec();
        assert_eq!(memory, Ok(Wanted::Memory(Tmpfs { path, options })));
        assert_eq!(parse_mount("target=/t").unwrap().target(), b"/t");
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = [
            ("/a:b", "absolute"),
            ("/a:/", "root"),
            ("/a:/b/..", "root"),
            ("", "absolute"),
            ("a/b:/c", "./PATH"),
            ("x:/c", "volume name"),
            ("/a:/b:rw,shared", "shared"),
            ("/a:/b:uid=me", "me"),
            ("/a:/b:uid=4294967295", "4294967295"),
            ("/a:/b:nocopy", "nocopy"),
            ("/a:/b:ro:rw", "SOURCE:TARGET"),
        ];
        for (text, word) in wrong {
            let problem = parse_volume(text).unwrap_err();
            assert!(problem.contains(word), "{text}: {problem}");
            assert!(problem.starts_with("-v `"), "{problem}");
        }
        let wrong = [
            ("type=bind,source=/a", "target"),
            ("type=bind,target=/a", "source"),
            ("type=bind,source=a,target=/a", "./PATH"),
            ("type=disk,target=/a", "disk"),
            ("type=tmpfs,source=/a,target=/a", "source"),
            ("source=/a,target=/a", "volume name"),
            ("type=bind,source=/a,target=/a,tmpfs-size=1m", "type=tmpfs"),
            (
                "type=bind,source=/a,target=/a,bind-propagation=shared",
                "shared",
            ),
            ("type=bind,source=/a,target=/a,readonly=maybe", "maybe"),
            ("target", "value"),
            ("taget=/a", "taget"),
        ];
        for (text, word) in wrong {
            let problem = parse_mount(text).unwrap_err();
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }

    #[test]
    fn what_was_typed_in_a_directory_is_found_from_everywhere() {
        for (typed, anchored) in [
            ("./x:/a:ro", "/home/me/./x:/a:ro"),
            ("../x:/a", "/home/me/../x:/a"),
            ("/x:/a", "/x:/a"),
            ("name:/a", "name:/a"),
            ("/a", "/a"),
        ] {
            assert_eq!(anchor_volume(typed, "/home/me"), anchored);
        }
        let typed = "type=bind,src=./x,target=/a";
        assert_eq!(anchor_mount(typed, "/h"), "type=bind,src=/h/./x,target=/a");
        let typed = "type=volume,source=x,target=/./a";
        assert_eq!(anchor_mount(typed, "/h"), typed);
    }
}
