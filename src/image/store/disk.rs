//! The disk of a machine: metadata over the layers' blobs, and the files that the binary carries.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::load::put;
use super::{Image, Store, failed};
use crate::image::codec;
use crate::image::compress::decompress_zstd;
use crate::image::digest::Digest;
use crate::image::erofs;
use crate::image::error::{Error, Fault, Refusal};
use crate::image::intake::{BLOB, TREE};
use crate::image::merge::{Inode, Kind, Tree};
use crate::image::tree::{BLOCK, LayerTree, Meta};
use crate::spec::Piece;

/// Version of what is on a disk besides the image: part of the disk's key.
const EDITION: u32 = 1;

/// Directories at the root of the disk, for init to mount on.
const MOUNT_POINTS: [&[u8]; 5] = [b"dev", b"mnt", b"proc", b"run", b"sys"];

/// Where the image's tree is.
const IMAGE_ROOT: &[u8] = b"rootfs";

/// A root file system.
#[derive(Debug)]
pub struct Rootfs {
    /// The disk that has it.
    pub disk: Vec<Piece>,
}

/// A file that the binary carries.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    /// Its bytes.
    pub bytes: &'static [u8],
    /// Their SHA-256 in hexadecimal, computed when the binary was built: hashing them again would be
    /// most of a run's own work.
    pub sha256: &'static str,
}

/// Why layers do not fit together: the number of the layer, and what it has.
type Misfit = (usize, Refusal);

/// Merges the layers in these folders, lowest first. Their contents are in blobs numbered from 1.
pub fn merge(folders: &[PathBuf]) -> Result<Result<(Tree, Vec<u64>), Misfit>, Error> {
    let mut tree = Tree::default();
    let mut blobs = Vec::new();
    for (number, folder) in folders.iter().enumerate() {
        let layer = read_tree(folder)?;
        blobs.push(layer.blob_len);
        if let Err(refusal) = tree.apply(layer, number + 1) {
            return Ok(Err((number, refusal)));
        }
    }
    Ok(Ok((tree, blobs)))
}

fn read_tree(folder: &Path) -> Result<LayerTree, Error> {
    let path = folder.join(TREE);
    let bytes = fs::read(&path).map_err(failed("read", &path))?;
    let layer = codec::read(&bytes).map_err(|_| Error::Damaged { path })?;
    let blob = folder.join(BLOB);
    let found = fs::metadata(&blob).map_err(failed("read", &blob))?.len();
    if found == layer.blob_len {
        Ok(layer)
    } else {
        Err(Error::Damaged { path: blob })
    }
}

impl Store {
    /// The disk of `image` with `init` as its PID 1. Made once, and the same for every image of
    /// the same layers.
    pub fn rootfs(&self, image: &Image, init: Carried) -> Result<Rootfs, Error> {
        let _lock = self.lock_shared()?;
        let init_file = self.own_file(init, |bytes| Ok(bytes.to_vec()))?;
        let metadata = self.root.join("disks").join(disk_key(image, init).hex());
        let folders: Vec<_> = image
            .layers
            .iter()
            .map(|layer| self.layer(*layer))
            .collect();
        if !metadata.exists() {
            self.write_disk(image, &folders, init.bytes.len() as u64, &metadata)?;
        }
        let blobs = folders.iter().map(|folder| folder.join(BLOB));
        let files = [metadata, init_file].into_iter().chain(blobs);
        let pieces = files.map(|file| {
            let len = fs::metadata(&file).map_err(failed("read", &file))?.len();
            Ok(Piece {
                file,
                len: len.next_multiple_of(BLOCK),
            })
        });
        // An empty blob has no place on the disk.
        let pieces: Result<Vec<Piece>, Error> = pieces.collect();
        Ok(Rootfs {
            disk: pieces?.into_iter().filter(|piece| piece.len > 0).collect(),
        })
    }

    /// The guest kernel, unpacked once from its zstd form.
    pub fn kernel(&self, packed: Carried) -> Result<PathBuf, Error> {
        let _lock = self.lock_shared()?;
        self.own_file(packed, decompress_zstd)
    }

    fn write_disk(
        &self,
        image: &Image,
        folders: &[PathBuf],
        init_len: u64,
        place: &Path,
    ) -> Result<(), Error> {
        let merged = merge(folders)?;
        let (mut tree, blobs) = merged.map_err(|(_, refusal)| Error::Layers {
            id: image.id,
            refusal,
        })?;
        tree.put_below(IMAGE_ROOT, outer(init_len));
        let blobs: Vec<u64> = [init_len].into_iter().chain(blobs).collect();
        let metadata = erofs::write(&tree, &blobs).map_err(|error| Error::Load {
            origin: image.id.to_string(),
            fault: Fault::Store(io::Error::other(error)),
        })?;
        let staging = self.staging()?;
        put(&staging.path().join("disk"), &metadata, place)
    }

    /// A file made from bytes that the binary carries, under their digest.
    fn own_file(
        &self,
        carried: Carried,
        unpack: impl Fn(&[u8]) -> io::Result<Vec<u8>>,
    ) -> Result<PathBuf, Error> {
        let place = self.root.join("files").join(carried.sha256);
        if !place.exists() {
            let content = unpack(carried.bytes).map_err(failed("unpack", &place))?;
            let staging = self.staging()?;
            put(&staging.path().join("file"), &content, &place)?;
        }
        Ok(place)
    }
}

/// What stands beside the image on its disk: init, and directories to mount on.
fn outer(init_len: u64) -> Vec<(&'static [u8], Inode)> {
    let meta = Meta {
        mode: 0o755,
        ..Meta::default()
    };
    let init = Inode {
        kind: Kind::File {
            blob: 0,
            size: init_len,
            offset: 0,
        },
        meta: meta.clone(),
    };
    let directory = || Inode {
        kind: Kind::Directory(BTreeMap::new()),
        meta: meta.clone(),
    };
    let mount_points = MOUNT_POINTS.map(|name| (name, directory()));
    [(&b"init"[..], init)]
        .into_iter()
        .chain(mount_points)
        .collect()
}

/// Everything that a disk depends on.
pub(super) fn disk_key(image: &Image, init: Carried) -> Digest {
    let layers: String = image
        .layers
        .iter()
        .map(|layer| format!("{layer}\n"))
        .collect();
    Digest::of(format!("{EDITION}\nsha256:{}\n{layers}", init.sha256).as_bytes())
}
