//! Giving space back: what no named image needs goes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::{Store, failed};
use crate::image::error::Error;

/// What a prune gave back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reclaimed {
    /// Bytes of files that are gone.
    pub bytes: u64,
}

impl Store {
    /// Removes images without a name, layers and disks that no image has, and what was never
    /// finished. Disks and own files of named images are made again when they are needed. A
    /// running machine keeps the files that it has open.
    pub fn prune(&self) -> Result<Reclaimed, Error> {
        let _lock = self.lock_exclusive()?;
        let (named, nameless): (Vec<_>, Vec<_>) = self
            .images()?
            .into_iter()
            .partition(|image| !image.names.is_empty());
        let mut reclaimed = Reclaimed::default();
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
        for folder in ["disks", "files", "tmp"] {
            for name in self.names_in(folder)? {
                self.discard(&self.root.join(folder).join(name), &mut reclaimed)?;
            }
        }
        Ok(reclaimed)
    }

    /// Removes a file or a folder. A folder leaves its place at once, so that nobody finds half
    /// of it.
    fn discard(&self, path: &Path, reclaimed: &mut Reclaimed) -> Result<(), Error> {
        let remove = || -> io::Result<u64> {
            let bytes = size_of_tree(path)?;
            if fs::symlink_metadata(path)?.is_dir() {
                let tmp = self.root.join("tmp");
                let aside = tmp.join(format!(
                    "gone-{}",
                    path.file_name().unwrap_or_default().to_string_lossy()
                ));
                if path.parent() == Some(&tmp) {
                    fs::remove_dir_all(path)?;
                } else {
                    fs::rename(path, &aside)?;
                    fs::remove_dir_all(&aside)?;
                }
            } else {
                fs::remove_file(path)?;
            }
            Ok(bytes)
        };
        reclaimed.bytes += remove().map_err(failed("remove", path))?;
        Ok(())
    }
}

/// Bytes that a file, or a folder of files, takes on the host's disk.
fn size_of_tree(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    const SECTOR: u64 = 512;
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.blocks() * SECTOR);
    }
    fs::read_dir(path)?
        .map(|entry| size_of_tree(&entry?.path()))
        .sum()
}
