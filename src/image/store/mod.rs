//! What husk keeps: images and what they are made of, under names that are digests.
//!
//! ```text
//! version              format of the store
//! lock                 shared by who adds, exclusive to who removes
//! layers/DIFFID/       blob: contents; tree: names and attributes
//! images/ID            the image's configuration, as it came
//! refs/NAME            the ID of the image of that name
//! disks/KEY            EROFS metadata over a list of layers
//! trees/KEY/           root: a list of layers as a directory; made when somebody needs one
//! files/DIGEST         what the binary carries: kernel, init, probe
//! tmp/                 what is not finished
//! ```
//! Everything is made below `tmp` and renamed to its place when it is whole, contents before what
//! refers to them: whoever dies at whatever moment leaves a whole store, and at most some bytes
//! below `tmp` that `prune` takes away. What has a place is never changed.

mod commit;
mod disk;
mod images;
mod load;
mod prune;
mod scratch;
mod staging;
mod trees;

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::digest::Digest;
use super::error::Error;
pub use commit::NewLayer;
pub use disk::{Beside, Carried, Rootfs};
pub use images::Image;
pub use prune::{Left, Reclaimed, Why};
pub use scratch::Scratch;
use staging::Staging;
pub use trees::Unpacked;

/// Format of the store.
const VERSION: u32 = 1;

const FOLDERS: [&str; 6] = ["layers", "images", "refs", "disks", "files", "tmp"];

/// A store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// Holds the store's lock until dropped.
#[derive(Debug)]
struct Lock {
    _file: File,
}

impl Store {
    /// Where the store is: `$HUSK_HOME`, `$XDG_DATA_HOME/husk`, or `~/.local/share/husk`.
    pub fn default_path() -> Result<PathBuf, Error> {
        let set = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set("HUSK_HOME")
            .or_else(|| set("XDG_DATA_HOME").map(|data| data.join("husk")))
            .or_else(|| set("HOME").map(|home| home.join(".local/share/husk")))
            .ok_or(Error::Homeless)
    }

    /// Opens the store at `root`, and makes it if there is none.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let store = Self {
            root: root.to_owned(),
        };
        let version = store.root.join("version");
        match fs::read_to_string(&version) {
            Ok(found) if found.trim() == VERSION.to_string() => return Ok(store),
            Ok(found) => {
                let found = found.trim().chars().take(20).collect();
                return Err(Error::Newer {
                    path: root.to_owned(),
                    found,
                    known: VERSION,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("read", version)(source)),
        }
        for folder in FOLDERS {
            let folder = store.root.join(folder);
            fs::create_dir_all(&folder).map_err(failed("create", folder))?;
        }
        let staging = store.staging()?;
        let staged = staging.path().join("version");
        fs::write(&staged, format!("{VERSION}\n")).map_err(failed("write", &staged))?;
        fs::rename(&staged, &version).map_err(failed("write", &version))?;
        Ok(store)
    }

    /// A folder for what is not finished.
    fn staging(&self) -> Result<Staging, Error> {
        Staging::new(&self.root.join("tmp"))
    }

    /// An empty directory for a run to mount its own files on, where only itself sees them.
    pub fn workspace(&self) -> PathBuf {
        self.root.join("run")
    }

    fn layer(&self, diff_id: Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex())
    }

    fn image(&self, id: Digest) -> PathBuf {
        self.root.join("images").join(id.hex())
    }

    /// Waits until nobody removes anything, and keeps it so.
    fn lock_shared(&self) -> Result<Lock, Error> {
        self.lock(FlockOperation::LockShared)
    }

    /// Waits until nobody else works on the store, and keeps it so.
    fn lock_exclusive(&self) -> Result<Lock, Error> {
        self.lock(FlockOperation::LockExclusive)
    }

    fn lock(&self, how: FlockOperation) -> Result<Lock, Error> {
        let path = self.root.join("lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        flock(&file, how).map_err(|errno| failed("lock", &path)(errno.into()))?;
        Ok(Lock { _file: file })
    }

    /// The names in a folder that a store has had since somebody needed it, if ever.
    fn names_if_any(&self, folder: &str) -> Result<Vec<String>, Error> {
        match self.names_in(folder) {
            Err(Error::Store { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            names => names,
        }
    }

    /// The names in a folder of the store.
    fn names_in(&self, folder: &str) -> Result<Vec<String>, Error> {
        let path = self.root.join(folder);
        let entries = fs::read_dir(&path).map_err(failed("read", &path))?;
        let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
        let names = names.map_err(failed("read", &path))?;
        Ok(names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect())
    }
}

/// The error of trying `verb` on `path`.
fn failed(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Store { verb, path, source }
}
