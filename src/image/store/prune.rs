//! Giving space back: what no named image needs goes.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::scratch;
use super::trees::{TREES, is_leased};
use super::{Image, Store, failed};
use crate::image::directory::remove;
use crate::image::error::Error;

/// What a prune gave back.
#[derive(Debug, Clone, Default)]
pub struct Reclaimed {
    /// Bytes of files that are gone.
    pub bytes: u64,
    /// What should be gone and is not.
    pub left: Vec<Left>,
}

/// Something that no image needs and that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What.
    pub path: PathBuf,
    /// Why.
    pub why: Why,
}

/// Why something is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A container is running in it.
    InUse,
    /// It was unpacked in a user namespace whose other users own parts of it.
    Foreign,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.why {
            Why::InUse => write!(
                f,
                "`{path}` stays, because a container uses it: prune again when it has ended"
            ),
            Why::Foreign => write!(
                f,
                "`{path}` stays, because parts of it belong to users of a user namespace: prune \
                 in that namespace, or as root"
            ),
        }
    }
}

impl Store {
    /// Removes images without a name, layers, disks and trees that no image has, and what was
    /// never finished. Disks and own files of named images are made again when they are needed. A
    /// running machine keeps the files that it has open, and a container its tree.
    pub fn prune(&self) -> Result<Reclaimed, Error> {
        self.prune_unless(|_| false)
    }

    /// The same, but images without a name stay that somebody needs: who, `is_needed` knows.
    pub fn prune_unless(&self, is_needed: impl Fn(&Image) -> bool) -> Result<Reclaimed, Error> {
        let _lock = self.lock_exclusive()?;
        let (named, nameless): (Vec<_>, Vec<_>) = self
            .images()?
            .into_iter()
            .partition(|image| !image.names.is_empty() || is_needed(image));
        let mut reclaimed = Reclaimed::default();
        for name in self.names_in("tmp")? {
            let path = self.root.join("tmp").join(name);
            let removed = remove(&path);
            reclaimed.count(removed, &path)?;
        }
        for image in nameless {
            self.discard(&self.image(image.id), &mut reclaimed)?;
        }
        let used: BTreeSet<_> = named
            .iter()
            .flat_map(|image| &image.layers)
            .map(|layer| layer.hex())
            .collect();
        for layer in self.names_in("layers")? {
            if !used.contains(&layer) {
                self.discard(&self.root.join("layers").join(layer), &mut reclaimed)?;
            }
        }
        for folder in ["disks", "files"] {
            for name in self.names_in(folder)? {
                self.discard(&self.root.join(folder).join(name), &mut reclaimed)?;
            }
        }
        for name in self.names_if_any(scratch::FOLDER)? {
            let path = self.root.join(scratch::FOLDER).join(name);
            if !is_leased(&path).map_err(failed("open", &path))? {
                self.discard(&path, &mut reclaimed)?;
            }
        }
        for tree in self.names_if_any(TREES)? {
            if self.tree_is_needed(&tree, &named) {
                continue;
            }
            let path = self.tree_place(&tree);
            if is_leased(&path).map_err(failed("open", &path))? {
                let why = Why::InUse;
                reclaimed.left.push(Left { path, why });
            } else {
                self.discard(&path, &mut reclaimed)?;
            }
        }
        Ok(reclaimed)
    }

    /// Removes a file or a folder. It leaves its place at once, so that nobody finds half of it.
    fn discard(&self, path: &Path, reclaimed: &mut Reclaimed) -> Result<(), Error> {
        let staging = self.staging()?;
        let aside = staging.path().join(path.file_name().unwrap_or_default());
        fs::rename(path, &aside).map_err(failed("remove", path))?;
        let removed = remove(&aside);
        reclaimed.count(removed, &aside)
    }
}

impl Reclaimed {
    fn count(&mut self, removed: io::Result<u64>, path: &Path) -> Result<(), Error> {
        match removed {
            Ok(bytes) => self.bytes += bytes,
            // What lies below the store's own folders is its user's, but for parts of trees.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.left.push(Left {
                path: path.to_owned(),
                why: Why::Foreign,
            }),
            Err(error) => return Err(failed("remove", path)(error)),
        }
        Ok(())
    }
}
