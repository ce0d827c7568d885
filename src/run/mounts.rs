//! The host's files that a run sees: each found before the run begins.

use std::fs;
use std::io;
use std::path::PathBuf;

use husk_init::job;
use thiserror::Error;

use crate::spec::{Mount, Origin, Share};

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

/// Finds the files of `mounts`, in their order.
pub fn find(mounts: &[Mount]) -> Result<Vec<Share>, Error> {
    mounts.iter().map(find_one).collect()
}

fn find_one(mount: &Mount) -> Result<Share, Error> {
    let Origin::Host(path) = &mount.origin else {
        return Err(Error::Missing(PathBuf::new()));
    };
    let found = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing(path.clone()),
        _ => Error::Refused {
            path: path.clone(),
            source,
        },
    })?;
    if !found.is_dir() && !found.is_file() {
        return Err(Error::Unfit(path.clone()));
    }
    Ok(Share {
        path: path.clone(),
        read_only: mount.read_only,
        owner: mount.owner,
    })
}

/// Where the workload sees them.
pub fn places(mounts: &[Mount]) -> Vec<job::Share> {
    let place = |mount: &Mount| job::Share {
        path: mount.target.clone().into_bytes(),
        read_only: mount.read_only,
    };
    mounts.iter().map(place).collect()
}
