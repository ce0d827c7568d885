//! An image's tree as a directory, for the wall that has no disk: unpacked once, used by every run.
//!
//! ```text
//! trees/             mode 0700: what is set-uid in there is nothing for other users of the host
//! └ KEY/             locked, shared, by who uses it
//!   ├ root/          the tree
//!   └ record         JSON: who unpacked it, and what could not be
//! ```

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};
use serde::{Deserialize, Serialize};

use super::disk::merge;
use super::{Image, Store, failed};
use crate::image::digest::Digest;
use crate::image::error::Error;
use crate::image::intake::BLOB;
use crate::image::unpack::{self, ROOT, Shortfall};

/// Version of how trees are unpacked: part of a tree's key.
const EDITION: u32 = 1;

/// Where they are.
pub(super) const TREES: &str = "trees";
const RECORD: &str = "record";

/// Of the store's user alone.
const PRIVATE: u32 = 0o700;

/// The inode of the first user namespace (PROC_USER_INIT_INO, include/linux/proc_ns.h).
const FIRST_NAMESPACE: u64 = 0xEFFF_FFFD;

/// What decides how much of an image a process can unpack.
const RIGHTS: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_ADMIN);

/// An image's tree as a directory of the host. It stays as long as this value lives.
#[derive(Debug)]
pub struct Unpacked {
    /// The root directory. Nothing may be changed below it: other runs have the same.
    pub path: PathBuf,
    /// What is not as the image has it.
    pub shortfall: Shortfall,
    _lease: File,
}

/// What lies beside a tree.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// See [`identify`].
    identity: String,
    shortfall: Shortfall,
}

impl Store {
    /// The tree of `image`, as far as this process may unpack it: unpacked once for all who may as
    /// much and have the same user namespace's numbers.
    pub fn tree(&self, image: &Image) -> Result<Unpacked, Error> {
        let _lock = self.lock_shared()?;
        let identity = identify()?;
        let place = self.tree_place(&key(&image.layers, &identity).hex());
        if !place.exists() {
            self.write_tree(image, identity, &place)?;
        }
        let lease = File::open(&place).map_err(failed("open", &place))?;
        flock(&lease, FlockOperation::LockShared)
            .map_err(|errno| failed("lock", &place)(errno.into()))?;
        Ok(Unpacked {
            shortfall: read_record(&place)?.shortfall,
            path: place.join(ROOT),
            _lease: lease,
        })
    }

    /// Where the tree of this key is.
    pub(super) fn tree_place(&self, key: &str) -> PathBuf {
        self.root.join(TREES).join(key)
    }

    /// Whether some of `images` has the tree of this key.
    pub(super) fn tree_is_needed(&self, tree: &str, images: &[Image]) -> bool {
        read_record(&self.tree_place(tree)).is_ok_and(|record| {
            let of = |image: &Image| key(&image.layers, &record.identity).hex();
            images.iter().any(|image| of(image) == tree)
        })
    }

    fn write_tree(&self, image: &Image, identity: String, place: &Path) -> Result<(), Error> {
        let folders: Vec<_> = image
            .layers
            .iter()
            .map(|layer| self.layer(*layer))
            .collect();
        let (tree, _) = merge(&folders)?.map_err(|(_, refusal)| Error::Layers {
            id: image.id,
            refusal,
        })?;
        make_private(&self.root.join(TREES))?;
        let staging = self.staging()?;
        let aside = staging.path().join("tree");
        make_private(&aside)?;
        let blobs: Vec<_> = folders.iter().map(|folder| folder.join(BLOB)).collect();
        let shortfall = unpack::write(&tree, &blobs, &aside).map_err(|failure| Error::Unpack {
            id: image.id,
            entry: failure.entry,
            source: failure.source,
        })?;
        let record = Record {
            identity,
            shortfall,
        };
        let path = aside.join(RECORD);
        let text = serde_json::to_vec(&record).map_err(io::Error::other);
        text.and_then(|text| fs::write(&path, text))
            .map_err(failed("write", path))?;
        match fs::rename(&aside, place) {
            Ok(()) => Ok(()),
            // Somebody else was quicker, with the same tree.
            Err(_) if place.exists() => Ok(()),
            Err(error) => Err(failed("create", place)(error)),
        }
    }
}

/// Whether somebody uses the tree in `place`.
pub(super) fn is_leased(place: &Path) -> io::Result<bool> {
    let folder = File::open(place)?;
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

fn make_private(folder: &Path) -> Result<(), Error> {
    let make = || match DirBuilder::new().mode(PRIVATE).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(folder, Permissions::from_mode(PRIVATE))
        }
        made => made,
    };
    make().map_err(failed("create", folder))
}

fn read_record(place: &Path) -> Result<Record, Error> {
    let path = place.join(RECORD);
    let bytes = fs::read(&path).map_err(failed("read", &path))?;
    serde_json::from_slice(&bytes).map_err(|_| Error::Damaged { path })
}

/// Everything that a tree depends on.
fn key(layers: &[Digest], identity: &str) -> Digest {
    let layers: String = layers.iter().map(|layer| format!("{layer}\n")).collect();
    Digest::of(format!("{EDITION}\n{identity}\n{layers}").as_bytes())
}

/// Who this process is to a file system: its user and its rights, and what numbers of owners mean in
/// its user namespace. The first namespace has all numbers, and so may another one; but devices
/// are made in the first one only.
fn identify() -> Result<String, Error> {
    let read = |path: &str| {
        let text = fs::read_to_string(path).map_err(failed("read", path))?;
        let words: Vec<_> = text.split_whitespace().collect();
        Ok::<_, Error>(words.join(" "))
    };
    let namespace = "/proc/self/ns/user";
    let inode = fs::metadata(namespace).map_err(failed("read", namespace))?;
    let rights = capabilities(None).map_err(|errno| failed("read", "/proc/self")(errno.into()))?;
    Ok(format!(
        "user {} {}, rights {:x}, first namespace {}, uids {}, gids {}",
        geteuid().as_raw(),
        getegid().as_raw(),
        (rights.effective & RIGHTS).bits(),
        inode.ino() == FIRST_NAMESPACE,
        read("/proc/self/uid_map")?,
        read("/proc/self/gid_map")?,
    ))
}
