//! The host's files that a run sees: each found before the run begins.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use husk_init::job;
use thiserror::Error;

use crate::image::{Image, Store};
use crate::run;
use crate::spec::{Mount, Origin, Share};
use crate::volumes::{Lease, Volumes};

/// Why some files cannot be shown.
#[derive(Debug, Error)]
pub enum Error {
    /// Nothing is there.
    #[error("cannot mount `{}`: no such file or directory; create it first", .0.display())]
    Missing(PathBuf),
    /// It is there, and not for this user.
    #[error("cannot mount `{}`", path.display())]
    Refused {
        /// What was asked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a device, a pipe or a socket.
    #[error("cannot mount `{}`: it is neither a directory nor a regular file", .0.display())]
    Unfit(PathBuf),
}

/// What a run sees of the host's files.
#[derive(Debug)]
pub struct Found {
    /// The files, in the order of the mounts.
    pub shares: Vec<Share>,
    /// The volumes among them: they stay as long as this value lives.
    leases: Vec<Lease>,
}

/// Finds the files of `mounts`; a volume that is not there is made, and an empty one filled from `image`.
pub fn find(mounts: &[Mount], store: &Store, image: &Image) -> Result<Found, run::Error> {
    let mut found = Found {
        shares: Vec::new(),
        leases: Vec::new(),
    };
    for mount in mounts {
        let path = match &mount.origin {
            Origin::Host(path) => find_path(path)?,
            Origin::Volume { name, seeded } => {
                let lease = take(name, *seeded, &mount.target, store, image)?;
                let path = lease.data.clone();
                found.leases.push(lease);
                path
            }
        };
        found.shares.push(Share {
            path,
            read_only: mount.read_only,
            owner: mount.owner,
        });
    }
    Ok(found)
}

fn take(
    name: &str,
    seeded: bool,
    target: &str,
    store: &Store,
    image: &Image,
) -> Result<Lease, run::Error> {
    let volumes = Volumes::of(&Store::default_path()?);
    let mut unpacked = None;
    let mut tree = || -> Result<PathBuf, run::Error> {
        let tree = store.tree(image)?;
        Ok(unpacked.insert(tree).path.clone())
    };
    let tree = seeded.then_some(&mut tree as &mut dyn FnMut() -> _);
    volumes.take(name, target, tree)
}

fn find_path(path: &Path) -> Result<PathBuf, Error> {
    let found = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing(path.to_owned()),
        _ => Error::Refused {
            path: path.to_owned(),
            source,
        },
    })?;
    if found.is_dir() || found.is_file() {
        Ok(path.to_owned())
    } else {
        Err(Error::Unfit(path.to_owned()))
    }
}

/// Where the workload sees them.
pub fn places(mounts: &[Mount]) -> Vec<job::Share> {
    let place = |mount: &Mount| job::Share {
        path: mount.target.clone().into_bytes(),
        read_only: mount.read_only,
    };
    mounts.iter().map(place).collect()
}
