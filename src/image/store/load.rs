//! Taking images in: everything is unpacked and verified aside, and becomes visible when whole.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Store, failed, images::Image};
use crate::image::digest::Digest;
use crate::image::error::{Error, Fault};
use crate::image::intake::{Budget, take_layer};
use crate::image::limits::Limits;
use crate::image::manifest::{self, Listed};
use crate::image::parts::Parts;
use crate::image::source::Source;

/// A layer that is unpacked and not in its place yet.
pub(super) struct Staged {
    pub diff_id: Digest,
    pub folder: PathBuf,
}

impl Store {
    /// Takes every image of `source`. An image that is refused leaves nothing behind.
    pub fn load(&self, source: Source, limits: &Limits) -> Result<Vec<Image>, Error> {
        let _lock = self.lock_shared()?;
        let staging = self.staging()?;
        let origin = source.name();
        let load = |fault| Error::Load {
            origin: origin.clone(),
            fault,
        };
        let parts = source.open(staging.path()).map_err(load)?;
        let listed = manifest::list(&parts).map_err(load)?;
        let mut loaded = Vec::new();
        for (number, image) in listed.into_iter().enumerate() {
            let folder = staging.path().join(number.to_string());
            fs::create_dir(&folder).map_err(failed("create", &folder))?;
            let staged = self.stage(&parts, &image, &folder, limits).map_err(load)?;
            self.check_layers(&image, &staged, load)?;
            loaded.push(self.commit(image, staged, &folder)?);
        }
        Ok(loaded)
    }

    /// Unpacks the layers that the store does not have.
    fn stage(
        &self,
        parts: &Parts,
        image: &Listed,
        folder: &Path,
        limits: &Limits,
    ) -> Result<Vec<Staged>, Fault> {
        let mut budget = Budget {
            left: *limits,
            limits: *limits,
        };
        let mut staged: Vec<Staged> = Vec::new();
        for layer in &image.layers {
            let known = staged.iter().any(|other| other.diff_id == layer.diff_id);
            if known || self.layer(layer.diff_id).exists() {
                continue;
            }
            let folder = folder.join(layer.diff_id.hex());
            fs::create_dir(&folder).map_err(Fault::Store)?;
            take_layer(parts, layer, &folder, &mut budget)?;
            staged.push(Staged {
                diff_id: layer.diff_id,
                folder,
            });
        }
        Ok(staged)
    }

    /// Refuses layers that do not fit together while nobody has seen them.
    pub(super) fn check_layers(
        &self,
        image: &Listed,
        staged: &[Staged],
        load: impl Fn(Fault) -> Error,
    ) -> Result<(), Error> {
        let folder_of = |diff_id| {
            let aside = staged.iter().find(|other| other.diff_id == diff_id);
            aside.map_or_else(|| self.layer(diff_id), |staged| staged.folder.clone())
        };
        let folders: Vec<_> = image
            .layers
            .iter()
            .map(|layer| folder_of(layer.diff_id))
            .collect();
        match super::disk::merge(&folders)? {
            Ok(_) => Ok(()),
            Err((number, refusal)) => {
                let layer = &image.layers[number];
                Err(load(Fault::Layer {
                    layer: layer.blob.unwrap_or(layer.diff_id),
                    refusal,
                }))
            }
        }
    }

    pub(super) fn commit(
        &self,
        image: Listed,
        staged: Vec<Staged>,
        folder: &Path,
    ) -> Result<Image, Error> {
        for layer in staged {
            let place = self.layer(layer.diff_id);
            match fs::rename(&layer.folder, &place) {
                Ok(()) => {}
                // Somebody else was quicker, with the same bytes.
                Err(_) if place.exists() => {}
                Err(error) => return Err(failed("create", place)(error)),
            }
        }
        put(&folder.join("config"), &image.config, &self.image(image.id))?;
        for name in &image.names {
            let place = self.reference(name);
            put(
                &folder.join("ref"),
                format!("{}\n", image.id).as_bytes(),
                &place,
            )?;
        }
        let mut loaded = self.read_image(image.id)?;
        // All names of an image are its own; the ones that it came with come first.
        let others = self.names_of(image.id)?;
        loaded.names = image.names;
        loaded.names.extend(
            others
                .into_iter()
                .filter(|name| !loaded.names.contains(name))
                .collect::<Vec<_>>(),
        );
        Ok(loaded)
    }
}

/// Writes a file aside and renames it to its place.
pub fn put(aside: &Path, bytes: &[u8], place: &Path) -> Result<(), Error> {
    fs::write(aside, bytes).map_err(failed("write", aside))?;
    settle(aside, place)
}

/// Renames a file that was written aside to its place, once its bytes are on the disk.
pub fn settle(aside: &Path, place: &Path) -> Result<(), Error> {
    let sync = || fs::File::open(aside)?.sync_data();
    sync().map_err(failed("write", aside))?;
    fs::rename(aside, place).map_err(failed("create", place))
}
