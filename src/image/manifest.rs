//! Which images a source has, and which parts they are made of. The one door to the OCI types.

use oci_spec::image::{
    Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, Os,
};
use serde::Deserialize;

use super::digest::Digest;
use super::error::{Fault, printable};
use super::parts::Parts;
use super::reference::Reference;
use crate::spec::{ImageConfig, ImageHealth};

/// An image that a source has.
#[derive(Debug)]
pub struct Listed {
    /// The names that the source gives it.
    pub names: Vec<Reference>,
    /// Its configuration, digest checked.
    pub config: Vec<u8>,
    /// The configuration's digest: the image's ID.
    pub id: Digest,
    /// Its layers, lowest first.
    pub layers: Vec<LayerPart>,
}

/// A layer of a source.
#[derive(Debug)]
pub struct LayerPart {
    /// The part that holds it.
    pub part: String,
    /// The digest of its bytes as they are in the source, where the source says.
    pub blob: Option<Digest>,
    /// The digest of its plain tar, as the configuration says.
    pub diff_id: Digest,
}

/// What a configuration says.
#[derive(Debug)]
pub struct Configured {
    /// How to run the image.
    pub config: ImageConfig,
    /// `amd64`, …
    pub architecture: String,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Digests of its layers' plain tars, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// Annotations that carry a name.
const NAME_ANNOTATIONS: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];

/// How deep indexes may lie in indexes.
const MAX_DEPTH: usize = 4;

/// One image of a docker archive's manifest.json.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Every image of a source. Docker's own list comes first: it knows the names better.
pub fn list(parts: &Parts) -> Result<Vec<Listed>, Fault> {
    if let Some(document) = parts.document("manifest.json")? {
        let images: Vec<DockerImage> = parse(&document, "manifest.json")?;
        return images
            .into_iter()
            .map(|image| list_docker(parts, image))
            .collect();
    }
    let Some(document) = parts.document("index.json")? else {
        return Err(Fault::Unknown);
    };
    let index: ImageIndex = parse(&document, "index.json")?;
    let mut found: Vec<Listed> = Vec::new();
    for descriptor in index.manifests() {
        let names = names_of(descriptor);
        let listed = resolve(parts, descriptor, names, MAX_DEPTH)?;
        match found.iter_mut().find(|known| known.id == listed.id) {
            Some(known) => known.names.extend(listed.names),
            None => found.push(listed),
        }
    }
    if found.is_empty() {
        Err(Fault::Missing("an image in index.json".to_owned()))
    } else {
        Ok(found)
    }
}

fn list_docker(parts: &Parts, image: DockerImage) -> Result<Listed, Fault> {
    let config = document(parts, &image.config)?;
    let id = Digest::of(&config);
    let stem = image
        .config
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .trim_end_matches(".json");
    check_digest(&image.config, Digest::from_hex(stem).unwrap_or(id), id)?;
    let names = image.repo_tags.unwrap_or_default();
    let diff_ids = parse_config(&config)?.diff_ids;
    let layers = image.layers.unwrap_or_default();
    let layers = pair(
        layers.into_iter().map(|part| (part, None)).collect(),
        diff_ids,
    )?;
    let names = names
        .iter()
        .filter_map(|name| Reference::parse(name))
        .collect();
    Ok(Listed {
        names,
        config,
        id,
        layers,
    })
}

/// Follows a descriptor to the manifest for this machine.
fn resolve(
    parts: &Parts,
    descriptor: &Descriptor,
    names: Vec<Reference>,
    depth: usize,
) -> Result<Listed, Fault> {
    let (document, digest) = blob(parts, descriptor)?;
    match descriptor.media_type() {
        MediaType::ImageManifest => read_manifest(parts, &document, names),
        MediaType::Other(kind)
            if kind == "application/vnd.docker.distribution.manifest.v2+json" =>
        {
            read_manifest(parts, &document, names)
        }
        MediaType::ImageIndex => choose(parts, &document, names, depth),
        MediaType::Other(kind)
            if kind == "application/vnd.docker.distribution.manifest.list.v2+json" =>
        {
            choose(parts, &document, names, depth)
        }
        other => Err(unknown(&format!("manifest {digest}"), other)),
    }
}

/// The manifest of an index that is for this machine.
fn choose(
    parts: &Parts,
    document: &[u8],
    names: Vec<Reference>,
    depth: usize,
) -> Result<Listed, Fault> {
    let index: ImageIndex = parse(document, "an image index")?;
    let fits = |descriptor: &&Descriptor| {
        descriptor.platform().as_ref().is_none_or(|platform| {
            *platform.os() == Os::Linux && *platform.architecture() == Arch::Amd64
        })
    };
    let depth = depth.checked_sub(1).ok_or_else(|| Fault::Malformed {
        what: "an image index".to_owned(),
        why: "indexes lie too deep in indexes".to_owned(),
    })?;
    match index.manifests().iter().find(fits) {
        Some(descriptor) => resolve(parts, descriptor, names, depth),
        None => {
            let platforms = index
                .manifests()
                .iter()
                .filter_map(|d| d.platform().as_ref());
            let found: Vec<_> = platforms
                .map(|p| format!("{}/{}", p.os(), p.architecture()))
                .collect();
            Err(Fault::Platform {
                found: found.join(", "),
            })
        }
    }
}

fn read_manifest(parts: &Parts, document: &[u8], names: Vec<Reference>) -> Result<Listed, Fault> {
    let manifest: ImageManifest = parse(document, "an image manifest")?;
    let (config, id) = blob(parts, manifest.config())?;
    let configured = parse_config(&config)?;
    let mut layers = Vec::new();
    for descriptor in manifest.layers() {
        let digest = digest_of(descriptor)?;
        if !is_layer(descriptor.media_type()) {
            return Err(unknown(&format!("layer {digest}"), descriptor.media_type()));
        }
        layers.push((blob_part(digest), Some(digest)));
    }
    Ok(Listed {
        names,
        config,
        id,
        layers: pair(layers, configured.diff_ids)?,
    })
}

fn is_layer(kind: &MediaType) -> bool {
    match kind {
        MediaType::ImageLayer
        | MediaType::ImageLayerGzip
        | MediaType::ImageLayerZstd
        | MediaType::ImageLayerNonDistributable
        | MediaType::ImageLayerNonDistributableGzip
        | MediaType::ImageLayerNonDistributableZstd => true,
        MediaType::Other(kind) => {
            let docker = kind.strip_prefix("application/vnd.docker.image.rootfs.");
            docker.is_some_and(|rest| {
                matches!(
                    rest,
                    "diff.tar" | "diff.tar.gzip" | "diff.tar.zstd" | "foreign.diff.tar.gzip"
                )
            })
        }
        _ => false,
    }
}

/// Layers and the digests that the configuration gives them, one to one.
fn pair(
    parts: Vec<(String, Option<Digest>)>,
    diff_ids: Vec<Digest>,
) -> Result<Vec<LayerPart>, Fault> {
    if parts.len() != diff_ids.len() {
        let why = format!(
            "it names {} layers, and the manifest {}",
            diff_ids.len(),
            parts.len()
        );
        return Err(Fault::Malformed {
            what: "the image configuration".to_owned(),
            why,
        });
    }
    let pairs = parts.into_iter().zip(diff_ids);
    Ok(pairs
        .map(|((part, blob), diff_id)| LayerPart {
            part,
            blob,
            diff_id,
        })
        .collect())
}

/// What a configuration says; refused when it is for another kind of machine.
pub fn parse_config(document: &[u8]) -> Result<Configured, Fault> {
    let parsed: ImageConfiguration = parse(document, "the image configuration")?;
    let architecture = parsed.architecture().to_string();
    if *parsed.os() != Os::Linux || *parsed.architecture() != Arch::Amd64 {
        return Err(Fault::Platform {
            found: format!("{}/{architecture}", parsed.os()),
        });
    }
    let malformed = |id: &String| Fault::Malformed {
        what: "the image configuration".to_owned(),
        why: format!("`{}` is no layer digest", printable(id.as_bytes())),
    };
    let diff_ids = parsed.rootfs().diff_ids().iter();
    let diff_ids: Result<_, _> = diff_ids
        .map(|id| Digest::parse(id).ok_or_else(|| malformed(id)))
        .collect();
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let config = parsed.config().as_ref().map(|config| ImageConfig {
        entrypoint: list(config.entrypoint()),
        cmd: list(config.cmd()),
        env: list(config.env()),
        workdir: text(config.working_dir()),
        user: text(config.user()),
        volumes: sorted(list(config.volumes())),
        labels: config
            .labels()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        stop_signal: text(config.stop_signal()),
        exposed_ports: sorted(list(config.exposed_ports())),
        health: ImageHealth::default(),
    });
    let health: WithHealth = parse(document, "the image configuration")?;
    let config = ImageConfig {
        health: health
            .config
            .unwrap_or_default()
            .healthcheck
            .unwrap_or_default(),
        ..config.unwrap_or_default()
    };
    Ok(Configured {
        config,
        architecture,
        created: parsed.created().clone(),
        diff_ids: diff_ids?,
    })
}

/// What docker adds to the specification's configuration.
#[derive(Deserialize)]
struct WithHealth {
    config: Option<HealthOf>,
}

#[derive(Default, Deserialize)]
struct HealthOf {
    #[serde(rename = "Healthcheck")]
    healthcheck: Option<ImageHealth>,
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

fn names_of(descriptor: &Descriptor) -> Vec<Reference> {
    let annotations = descriptor.annotations().iter().flatten();
    let named = annotations.filter(|(key, _)| NAME_ANNOTATIONS.contains(&key.as_str()));
    // A bare `latest` is a tag and no name.
    let whole = named.filter(|(_, value)| value.contains(['/', ':']));
    let mut names: Vec<_> = whole
        .filter_map(|(_, value)| Reference::parse(value))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn blob_part(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A document by its descriptor, digest checked.
fn blob(parts: &Parts, descriptor: &Descriptor) -> Result<(Vec<u8>, Digest), Fault> {
    let digest = digest_of(descriptor)?;
    let bytes = document(parts, &blob_part(digest))?;
    check_digest(&digest.to_string(), digest, Digest::of(&bytes))?;
    Ok((bytes, digest))
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, Fault> {
    let text = descriptor.digest().to_string();
    Digest::parse(&text).ok_or_else(|| Fault::Malformed {
        what: "a descriptor".to_owned(),
        why: format!(
            "husk knows sha256 digests, and not `{}`",
            printable(text.as_bytes())
        ),
    })
}

fn check_digest(what: &str, expected: Digest, found: Digest) -> Result<(), Fault> {
    if expected == found {
        return Ok(());
    }
    Err(Fault::WrongDigest {
        what: what.to_owned(),
        expected,
        found,
    })
}

fn document(parts: &Parts, name: &str) -> Result<Vec<u8>, Fault> {
    parts
        .document(name)?
        .ok_or_else(|| Fault::Missing(printable(name.as_bytes())))
}

fn parse<T: serde::de::DeserializeOwned>(document: &[u8], what: &str) -> Result<T, Fault> {
    serde_json::from_slice(document).map_err(|error| Fault::Malformed {
        what: what.to_owned(),
        why: error.to_string(),
    })
}

fn unknown(what: &str, kind: &MediaType) -> Fault {
    Fault::MediaType {
        what: what.to_owned(),
        media_type: printable(kind.to_string().as_bytes()),
    }
}
