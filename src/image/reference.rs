//! Image references, as docker writes and completes them: `busybox` is
//! `docker.io/library/busybox:latest`.

use std::fmt;

/// Where a name without a registry comes from.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Where podman and buildah put what they build under such a name.
const LOCAL_REGISTRY: &str = "localhost";
/// What a name on the default registry without a folder is in.
const OFFICIAL: &str = "library/";
/// The tag of a name without one.
const DEFAULT_TAG: &str = "latest";
/// Longest tag (OCI distribution spec).
const MAX_TAG: usize = 128;
/// Longest name, registry and all; it is a file name in the store.
const MAX_NAME: usize = 200;

/// A complete name of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: String,
}

impl Reference {
    /// Parses `[registry/]repository[:tag]` and completes what is missing; `None` when it breaks
    /// the grammar of docker references.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, tag) = match text.rsplit_once(':') {
            // A colon before the last slash belongs to a registry's port.
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (text, DEFAULT_TAG),
        };
        let (registry, rest) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, name),
        };
        let registry = if registry == "index.docker.io" {
            DEFAULT_REGISTRY
        } else {
            registry
        };
        let official = registry == DEFAULT_REGISTRY && !rest.contains('/');
        let repository = if official {
            format!("{OFFICIAL}{rest}")
        } else {
            rest.to_owned()
        };
        let legal = repository.split('/').all(is_component)
            && is_tag(tag)
            && text.len() <= MAX_NAME
            && !registry.is_empty();
        legal.then(|| Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.to_owned(),
        })
    }

    /// What `text` may stand for, likeliest first: as [`Reference::parse`] completes it, and, where
    /// it names no registry, the image that podman built under that name.
    pub fn candidates(text: &str) -> impl Iterator<Item = Self> {
        let named = text
            .split_once('/')
            .is_some_and(|(first, _)| is_registry(first));
        let local = (!named).then(|| Self::parse(&format!("{LOCAL_REGISTRY}/{text}")));
        Self::parse(text).into_iter().chain(local.flatten())
    }

    /// The short form that people type: `busybox:latest`.
    pub fn familiar(&self) -> String {
        let Self {
            registry,
            repository,
            tag,
        } = self;
        if registry == DEFAULT_REGISTRY {
            let short = repository.strip_prefix(OFFICIAL).unwrap_or(repository);
            return format!("{short}:{tag}");
        }
        self.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.registry, self.repository, self.tag)
    }
}

/// A first component is a registry when it could be a host: a dot, a port, or localhost.
fn is_registry(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
    let first = |c: char| c.is_ascii_alphanumeric() || c == '[';
    let host = text == LOCAL_REGISTRY || text.contains(['.', ':']);
    host && text.starts_with(first) && text.chars().all(legal)
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let legal = |c: char| alphanumeric(c) || "._-".contains(c);
    text.starts_with(alphanumeric) && text.ends_with(alphanumeric) && text.chars().all(legal)
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(word)
        && text.len() <= MAX_TAG
        && text.chars().all(|c| word(c) || ".-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_docker_does() {
        let table = [
            (
                "busybox",
                "docker.io/library/busybox:latest",
                "busybox:latest",
            ),
            ("user/app:1.2", "docker.io/user/app:1.2", "user/app:1.2"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            (
                "host:5000/a/b",
                "host:5000/a/b:latest",
                "host:5000/a/b:latest",
            ),
            (
                "docker.io/alpine:3",
                "docker.io/library/alpine:3",
                "alpine:3",
            ),
        ];
        for (text, full, short) in table {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(
                (reference.to_string(), reference.familiar()),
                (full.into(), short.into())
            );
            assert_eq!(Reference::parse(full), Some(reference));
        }
        for wrong in [
            "", "A", "a:", "a:b:c", "-a", "a/", "/a", "a b", "a:.x", "../x", "a/../b",
        ] {
            assert_eq!(Reference::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_short_name_may_be_podmans() {
        let table: [(&str, &[&str]); 4] = [
            ("app:1", &["docker.io/library/app:1", "localhost/app:1"]),
            ("docker.io/app", &["docker.io/library/app:latest"]),
            ("quay.io/app", &["quay.io/app:latest"]),
            ("App", &[]),
        ];
        for (text, names) in table {
            let found: Vec<_> = Reference::candidates(text).map(|r| r.to_string()).collect();
            assert_eq!(found, names, "{text}");
        }
    }
}
