//! The disk of a machine: metadata over the layers' blobs, and the files that the binary carries.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::load::{put, settle};
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

/// Permissions of files that the binary carries.
const EXECUTABLE: u32 = 0o755;

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

/// A carried file that stands beside init on the disk.
#[derive(Debug, Clone, Copy)]
pub struct Beside {
    /// Its name at the root of the disk.
    pub name: &'static str,
    /// The file, executable.
    pub file: Carried,
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
    /// The disk of `image` with `init` as its PID 1, and maybe another file. Made once, and the same
    /// for every image of the same layers.
    pub fn rootfs(
        &self,
        image: &Image,
        init: Carried,
        beside: Option<Beside>,
    ) -> Result<Rootfs, Error> {
        let _lock = self.lock_shared()?;
        let init_file = self.plain_file(init)?;
        let beside_file = beside
            .map(|beside| self.plain_file(beside.file))
            .transpose()?;
        let key = disk_key(image, init, beside);
        let metadata = self.root.join("disks").join(key.hex());
        let folders: Vec<_> = image
            .layers
            .iter()
            .map(|layer| self.layer(*layer))
            .collect();
        if !metadata.exists() {
            self.write_disk(image, &folders, init, beside, &metadata)?;
        }
        let blobs = folders.iter().map(|folder| folder.join(BLOB));
        let files = [metadata, init_file]
            .into_iter()
            .chain(blobs)
            .chain(beside_file);
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

    /// A carried program as a file of the host, executable.
    pub fn carried(&self, file: Carried) -> Result<PathBuf, Error> {
        let _lock = self.lock_shared()?;
        self.plain_file(file)
    }

    /// Writes the metadata: init is blob 0, the layers follow, and what is beside them is the last.
    fn write_disk(
        &self,
        image: &Image,
        folders: &[PathBuf],
        init: Carried,
        beside: Option<Beside>,
        place: &Path,
    ) -> Result<(), Error> {
        let merged = merge(folders)?;
        let (mut tree, layers) = merged.map_err(|(_, refusal)| Error::Layers {
            id: image.id,
            refusal,
        })?;
        let programs = [("init", 0, init)]
            .into_iter()
            .chain(beside.map(|beside| (beside.name, layers.len() + 1, beside.file)));
        tree.put_below(IMAGE_ROOT, outer(programs));
        let length = |file: Carried| file.bytes.len() as u64;
        let blobs: Vec<u64> = [length(init)]
            .into_iter()
            .chain(layers)
            .chain(beside.map(|beside| length(beside.file)))
            .collect();
        let metadata = erofs::write(&tree, &blobs).map_err(|error| Error::Load {
            origin: image.id.to_string(),
            fault: Fault::Store(io::Error::other(error)),
        })?;
        let staging = self.staging()?;
        put(&staging.path().join("disk"), &metadata, place)
    }

    fn plain_file(&self, carried: Carried) -> Result<PathBuf, Error> {
        self.own_file(carried, |bytes| Ok(bytes.to_vec()))
    }

    /// A file made from bytes that the binary carries, under their digest. Anybody may execute it: a
    /// container's user too, who is not the store's.
    fn own_file(
        &self,
        carried: Carried,
        unpack: impl Fn(&[u8]) -> io::Result<Vec<u8>>,
    ) -> Result<PathBuf, Error> {
        let place = self.root.join("files").join(carried.sha256);
        if !place.exists() {
            let content = unpack(carried.bytes).map_err(failed("unpack", &place))?;
            let staging = self.staging()?;
            let aside = staging.path().join("file");
            let write = || {
                fs::write(&aside, &content)?;
                fs::set_permissions(&aside, Permissions::from_mode(EXECUTABLE))
            };
            write().map_err(failed("write", &aside))?;
            settle(&aside, &place)?;
        }
        Ok(place)
    }
}

/// What stands beside the image on its disk: programs, each in a blob of its own, and directories to
/// mount on.
fn outer<'p>(programs: impl Iterator<Item = (&'p str, usize, Carried)>) -> Vec<(&'p [u8], Inode)> {
    let meta = Meta {
        mode: 0o755,
        ..Meta::default()
    };
    let program = |(name, blob, file): (&'p str, usize, Carried)| {
        let kind = Kind::File {
            blob,
            size: file.bytes.len() as u64,
            offset: 0,
        };
        let meta = meta.clone();
        (name.as_bytes(), Inode { kind, meta })
    };
    let directory = || Inode {
        kind: Kind::Directory(BTreeMap::new()),
        meta: meta.clone(),
    };
    let mount_points = MOUNT_POINTS.map(|name| (name, directory()));
    programs.map(program).chain(mount_points).collect()
}

/// Everything that a disk depends on.
fn disk_key(image: &Image, init: Carried, beside: Option<Beside>) -> Digest {
    let layers: String = image
        .layers
        .iter()
        .map(|layer| format!("{layer}\n"))
        .collect();
    let beside = beside
        .map(|Beside { name, file }| format!("{name} sha256:{}\n", file.sha256))
        .unwrap_or_default();
    Digest::of(format!("{EDITION}\nsha256:{}\n{layers}{beside}", init.sha256).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Limits, Source};
    use std::io::Cursor;

    const INIT: Carried = Carried {
        bytes: b"init",
        sha256: "1111",
    };
    const BESIDE: Beside = Beside {
        name: "extra",
        file: Carried {
            bytes: b"extra file",
            sha256: "2222",
        },
    };

    fn store_with_image() -> (tempfile::TempDir, Store, Image) {
        const ARCHIVE: &[u8] = include_bytes!("../../../rootfs/busybox/busybox.tar");
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let source = Source::Stream(Box::new(Cursor::new(ARCHIVE)));
        let image = store.load(source, &Limits::default()).unwrap().remove(0);
        (folder, store, image)
    }

    #[test]
    fn what_is_beside_comes_last_and_makes_another_disk() {
        let (_folder, store, image) = store_with_image();
        let plain = store.rootfs(&image, INIT, None).unwrap().disk;
        let with = store.rootfs(&image, INIT, Some(BESIDE)).unwrap().disk;
        assert_eq!(with.len(), plain.len() + 1);
        assert_ne!(with[0].file, plain[0].file);
        let mut same = with[1..].iter().zip(&plain[1..]);
        assert!(same.all(|(a, b)| a.file == b.file));
        let file = &with[with.len() - 1].file;
        assert_eq!(fs::read(file).unwrap(), BESIDE.file.bytes);
        assert_eq!(*file, store.carried(BESIDE.file).unwrap());
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, EXECUTABLE);
    }

    #[test]
    fn a_disk_without_it_has_the_key_that_it_always_had() {
        let (_folder, _store, image) = store_with_image();
        let text = format!("1\nsha256:1111\n{}\n", image.layers[0]);
        assert_eq!(image.layers.len(), 1);
        assert_eq!(disk_key(&image, INIT, None), Digest::of(text.as_bytes()));
    }
}
