//! `--ulimit` and `--tmpfs`, as docker writes them.

use husk_init::job::{Limit, Tmpfs};

/// RLIMIT_* names and numbers of Linux x86_64 (getrlimit(2)).
const RESOURCES: [(&str, u32); 16] = [
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];

/// Parses `NAME=SOFT[:HARD]`; -1 is unlimited, one number sets both.
pub fn parse_limit(text: &str) -> Result<Limit, String> {
    let wrong = || format!("--ulimit `{text}`: write NAME=SOFT[:HARD], like nofile=1024:4096");
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    let known = RESOURCES.iter().find(|(known, _)| *known == name);
    let names = || RESOURCES.map(|(name, _)| name).join(", ");
    let (_, resource) =
        known.ok_or_else(|| format!("--ulimit `{name}` is unknown; the limits are {}", names()))?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (
        parse_value(soft).ok_or_else(wrong)?,
        parse_value(hard).ok_or_else(wrong)?,
    );
    if soft > hard {
        return Err(format!(
            "--ulimit `{text}`: the soft limit is above the hard one"
        ));
    }
    Ok(Limit {
        resource: *resource,
        soft,
        hard,
    })
}

/// Parses `--pids-limit`: a number; 0 and -1 are no limit, as docker has it.
pub fn parse_tasks(text: &str) -> Result<Option<u32>, String> {
    let wrong = || format!("--pids-limit `{text}`: write a number, like 100, or -1 for no limit");
    match text.parse::<i64>().map_err(|_| wrong())? {
        -1 | 0 => Ok(None),
        number => u32::try_from(number).map(Some).map_err(|_| wrong()),
    }
}

/// The name of `RLIMIT_` number `resource`, as `--ulimit` takes it; empty if there is none.
pub fn limit_name(resource: u32) -> &'static str {
    let named = RESOURCES.iter().find(|(_, number)| *number == resource);
    named.map_or("", |(name, _)| name)
}

fn parse_value(text: &str) -> Option<u64> {
    if text == "-1" || text == "unlimited" {
        Some(u64::MAX)
    } else {
        text.parse().ok()
    }
}

/// Parses `PATH[:OPTIONS]`.
pub fn parse_tmpfs(text: &str) -> Result<Tmpfs, String> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!(
            "--tmpfs `{path}`: write an absolute path without `..`"
        ));
    }
    Ok(Tmpfs {
        path: path.into(),
        options: options.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_as_docker_reads_them() {
        let both = parse_limit("nofile=1024:4096").unwrap();
        assert_eq!((both.resource, both.soft, both.hard), (7, 1024, 4096));
        let one = parse_limit("core=-1").unwrap();
        assert_eq!((one.resource, one.soft, one.hard), (4, u64::MAX, u64::MAX));
        for text in ["nofile", "nofile=", "files=1", "nofile=9:1", "nofile=a"] {
            assert!(parse_limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tmpfs_paths_are_absolute() {
        let mount = parse_tmpfs("/run:size=1m,mode=700").unwrap();
        assert_eq!(
            (mount.path.as_slice(), mount.options.as_slice()),
            (&b"/run"[..], &b"size=1m,mode=700"[..])
        );
        for text in ["run", "", "/a/../b"] {
            assert!(parse_tmpfs(text).is_err(), "{text}");
        }
    }
}
