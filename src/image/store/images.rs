//! Finding, listing and forgetting images.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Store, failed};
use crate::image::digest::Digest;
use crate::image::error::Error;
use crate::image::intake::BLOB;
use crate::image::manifest::parse_config;
use crate::image::reference::Reference;
use crate::spec::{ImageConfig, nearest};

/// Digits of an ID that are enough to ask for it.
const MIN_ID: usize = 4;

/// An image in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// Its names.
    pub names: Vec<Reference>,
    /// How to run it.
    pub config: ImageConfig,
    /// What it is for: `amd64`.
    pub architecture: String,
    /// Digests of its layers' plain tars, lowest first.
    pub layers: Vec<Digest>,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Bytes of its layers' blobs.
    pub size: u64,
}

impl Store {
    /// The image of a name, or of an ID or its beginning. A name wins.
    pub fn find(&self, text: &str) -> Result<Image, Error> {
        for reference in Reference::candidates(text) {
            if let Some(id) = self.target(&reference)? {
                return self.named(id);
            }
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if digits.len() >= MIN_ID && digits.chars().all(hex) {
            let ids = self.names_in("images")?;
            let mut found = ids.iter().filter(|id| id.starts_with(digits));
            match (
                found.next().and_then(|id| Digest::from_hex(id)),
                found.next(),
            ) {
                (Some(id), None) => return self.named(id),
                (Some(_), Some(_)) => return Err(Error::Ambiguous(text.to_owned())),
                _ => {}
            }
        }
        match Reference::parse(text) {
            Some(reference) => Err(Error::NotFound {
                hint: self.nearest(text),
                reference: reference.to_string(),
            }),
            None => Err(Error::BadReference(text.to_owned())),
        }
    }

    /// The image that somebody who typed `text` may have meant.
    fn nearest(&self, text: &str) -> Option<String> {
        let names = self.all_names().ok()?;
        let names: Vec<_> = names.values().flatten().map(Reference::familiar).collect();
        let untagged = |name: &String| name.strip_suffix(":latest").map(str::to_owned);
        let short: Vec<_> = names.iter().filter_map(untagged).collect();
        let all = names.iter().chain(&short).map(String::as_str);
        nearest(text, all).or_else(|| {
            let tag = |name: &&String| {
                name.strip_prefix(text)
                    .is_some_and(|tag| tag.starts_with(':'))
            };
            names.iter().find(tag).cloned()
        })
    }

    /// Every image, by name; those without a name come last.
    pub fn images(&self) -> Result<Vec<Image>, Error> {
        let mut names = self.all_names()?;
        let mut images = Vec::new();
        for hex in self.names_in("images")? {
            let Some(id) = Digest::from_hex(&hex) else {
                continue;
            };
            let mut image = match self.read_image(id) {
                // Removed while this list was made.
                Err(Error::Store { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                image => image?,
            };
            image.names = names.remove(&id).unwrap_or_default();
            images.push(image);
        }
        images.sort_by_key(|image| (image.names.is_empty(), image.names.clone(), image.id));
        Ok(images)
    }

    /// Removes a name, and the image when that was its last; or an image by its ID. Says what it
    /// did, in docker's words. Layers stay until `prune`.
    pub fn remove(&self, text: &str) -> Result<Vec<String>, Error> {
        let _lock = self.lock_exclusive()?;
        let image = self.find(text)?;
        let typed = Reference::candidates(text).find(|name| image.names.contains(name));
        let gone = match typed {
            Some(name) => vec![name],
            None if image.names.len() > 1 => {
                let names: Vec<_> = image.names.iter().map(Reference::familiar).collect();
                return Err(Error::SeveralNames {
                    id: text.to_owned(),
                    names: names.join(", "),
                });
            }
            None => image.names.clone(),
        };
        let mut said = Vec::new();
        for name in &gone {
            let path = self.reference(name);
            fs::remove_file(&path).map_err(failed("remove", path))?;
            said.push(format!("Untagged: {}", name.familiar()));
        }
        if gone.len() == image.names.len() {
            let path = self.image(image.id);
            fs::remove_file(&path).map_err(failed("remove", path))?;
            said.push(format!("Deleted: {}", image.id));
        }
        Ok(said)
    }

    /// The image `id` without its names.
    pub(super) fn read_image(&self, id: Digest) -> Result<Image, Error> {
        let path = self.image(id);
        let document = fs::read(&path).map_err(failed("read", &path))?;
        let damaged = || Error::Damaged { path: path.clone() };
        if Digest::of(&document) != id {
            return Err(damaged());
        }
        let configured = parse_config(&document).map_err(|_| damaged())?;
        let mut size = 0;
        for layer in &configured.diff_ids {
            let blob = self.layer(*layer).join(BLOB);
            size += fs::metadata(&blob).map_err(failed("read", blob))?.len();
        }
        Ok(Image {
            id,
            names: Vec::new(),
            config: configured.config,
            architecture: configured.architecture,
            layers: configured.diff_ids,
            created: configured.created,
            size,
        })
    }

    pub(super) fn names_of(&self, id: Digest) -> Result<Vec<Reference>, Error> {
        Ok(self.all_names()?.remove(&id).unwrap_or_default())
    }

    /// The file of a name: a slash cannot stand in one.
    pub(super) fn reference(&self, name: &Reference) -> PathBuf {
        self.root
            .join("refs")
            .join(name.to_string().replace('/', "%"))
    }

    fn named(&self, id: Digest) -> Result<Image, Error> {
        let mut image = self.read_image(id)?;
        image.names = self.names_of(id)?;
        Ok(image)
    }

    /// The ID that a name stands for.
    fn target(&self, name: &Reference) -> Result<Option<Digest>, Error> {
        let path = self.reference(name);
        match fs::read_to_string(&path) {
            Ok(text) => Digest::parse(text.trim())
                .map(Some)
                .ok_or(Error::Damaged { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", path)(error)),
        }
    }

    fn all_names(&self) -> Result<BTreeMap<Digest, Vec<Reference>>, Error> {
        let mut names: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for file in self.names_in("refs")? {
            let Some(name) = Reference::parse(&file.replace('%', "/")) else {
                continue;
            };
            if let Some(id) = self.target(&name)? {
                names.entry(id).or_default().push(name);
            }
        }
        names.values_mut().for_each(|names| names.sort());
        Ok(names)
    }
}
