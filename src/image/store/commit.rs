//! An image that is another one and a layer on top. The layer comes as a stream from a machine, and is taken
//! in as layers of archives are.

use std::fs;
use std::io::Read;

use super::load::Staged;
use super::staging::Staging;
use super::{Image, Lock, Store, failed};
use crate::image::amend::{Amendment, amend};
use crate::image::digest::Digest;
use crate::image::error::{Error, Fault};
use crate::image::files::Files;
use crate::image::intake::{Budget, take_stream};
use crate::image::limits::Limits;
use crate::image::manifest::{LayerPart, Listed};
use crate::image::reference::Reference;

/// A layer in the store that no image has yet. Without a commit it is gone.
#[derive(Debug)]
pub struct NewLayer<'s> {
    store: &'s Store,
    staging: Staging,
    diff_id: Digest,
    origin: String,
    _lock: Lock,
}

impl Store {
    /// What `image` has at its paths.
    pub fn files(&self, image: &Image) -> Result<Files, Error> {
        let _lock = self.lock_shared()?;
        let folders = image.layers.iter().map(|layer| self.layer(*layer));
        let folders: Vec<_> = folders.collect();
        match super::disk::merge(&folders)? {
            Ok((tree, _)) => Ok(Files::of(tree)),
            Err((_, refusal)) => Err(Error::Layers {
                id: image.id,
                refusal,
            }),
        }
    }

    /// Takes a layer in, a plain tar; `origin` is whose it is, for who reads of a failure.
    pub fn take_layer(
        &self,
        layer: impl Read + Send,
        limits: &Limits,
        origin: &str,
    ) -> Result<NewLayer<'_>, Error> {
        let lock = self.lock_shared()?;
        let staging = self.staging()?;
        let folder = staging.path().join("layer");
        fs::create_dir(&folder).map_err(failed("create", &folder))?;
        let mut budget = Budget {
            left: *limits,
            limits: *limits,
        };
        let taken = take_stream(layer, &folder, &mut budget);
        let diff_id = taken.map_err(|fault| load_error(origin, fault))?;
        Ok(NewLayer {
            store: self,
            staging,
            diff_id,
            origin: origin.to_owned(),
            _lock: lock,
        })
    }
}

impl NewLayer<'_> {
    /// Makes the image: `base` with this layer, whose configuration is changed by `amendment`. It gets the
    /// name `name`, which another image then loses.
    pub fn commit(
        self,
        base: &Image,
        amendment: &Amendment,
        name: Option<Reference>,
    ) -> Result<Image, Error> {
        let store = self.store;
        let origin = self.origin.clone();
        let load = |fault| load_error(&origin, fault);
        let path = store.image(base.id);
        let document = fs::read(&path).map_err(failed("read", &path))?;
        let config = amend(&document, self.diff_id, amendment).map_err(load)?;
        let diff_ids = base.layers.iter().copied().chain([self.diff_id]);
        let image = Listed {
            names: name.into_iter().collect(),
            id: Digest::of(&config),
            config,
            layers: diff_ids
                .map(|diff_id| LayerPart {
                    part: String::new(),
                    blob: None,
                    diff_id,
                })
                .collect(),
        };
        let staged = vec![Staged {
            diff_id: self.diff_id,
            folder: self.staging.path().join("layer"),
        }];
        store.check_layers(&image, &staged, load)?;
        store.commit(image, staged, self.staging.path())
    }
}

fn load_error(origin: &str, fault: Fault) -> Error {
    Error::Load {
        origin: origin.to_owned(),
        fault,
    }
}
