//! A folder of named things, each in a folder of its own with a record in it: volumes, and networks.
//!
//! ```text
//! shelf/               mode 0700
//! ├ NAME/              made aside and renamed to its place: it is whole, or it is not there
//! │ ├ lock             for whoever owns the shelf
//! │ └ RECORD.json      what is known of it
//! └ .NAME-PID/         what is not finished, or not gone; a sweep takes it away
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The lock in each folder.
pub const LOCK: &str = "lock";

/// What begins the names of what is not finished: nothing that is finished may be called so.
const ASIDE: char = '.';

/// The host refuses something.
#[derive(Debug, Error)]
#[error("cannot {verb} `{}`", path.display())]
pub struct Refused {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The error of trying `verb` on `path`.
pub fn failed(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Refused {
    let path = path.into();
    move |source| Refused { verb, path, source }
}

/// The folder; it need not be there.
#[derive(Debug)]
pub struct Shelf {
    root: PathBuf,
    record: &'static str,
}

impl Shelf {
    /// The one at `root`, in whose folders the file `record` says what is known.
    pub fn of(root: PathBuf, record: &'static str) -> Self {
        Self { root, record }
    }

    /// Where it is, made if it is not there.
    pub fn root(&self) -> Result<&Path, Refused> {
        make_private(&self.root)?;
        Ok(&self.root)
    }

    /// Where the thing of this name is, if there is one.
    pub fn place(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the thing of this name, aside, with a lock: who renames the folder to its place has finished it.
    pub fn begin(&self, name: &str, record: &impl Serialize) -> Result<PathBuf, Refused> {
        let aside = self.aside(name);
        make_private(&aside)?;
        File::create(aside.join(LOCK)).map_err(failed("create", &aside))?;
        let text = serde_json::to_vec(record).map_err(io::Error::from);
        text.and_then(|text| fs::write(aside.join(self.record), text))
            .map_err(failed("write", &aside))?;
        Ok(aside)
    }

    /// What is known of the thing of this name; `None` where there is none.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Refused> {
        let path = self.place(name).join(self.record);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(failed("read", &path))?,
        };
        let record = serde_json::from_slice(&bytes);
        record
            .map(Some)
            .map_err(|error| failed("read", path)(error.into()))
    }

    /// Removes the thing of this name at once, and then what was in it.
    pub fn remove(&self, name: &str) -> Result<(), Refused> {
        let (place, aside) = (self.place(name), self.aside(name));
        fs::rename(&place, &aside).map_err(failed("remove", &place))?;
        fs::remove_dir_all(&aside).map_err(failed("remove", aside))
    }

    /// The names of all that is finished, in their order.
    pub fn names(&self) -> Result<Vec<String>, Refused> {
        let mut names = self.all_names()?;
        names.retain(|name| !name.starts_with(ASIDE));
        names.sort();
        Ok(names)
    }

    /// Removes what dead processes left unfinished.
    pub fn sweep(&self) -> Result<(), Refused> {
        for name in self.all_names()? {
            let owner = name
                .strip_prefix(ASIDE)
                .and_then(|name| name.rsplit_once('-'));
            let Some((_, pid)) = owner else { continue };
            if !Path::new("/proc").join(pid).exists() {
                let path = self.place(&name);
                fs::remove_dir_all(&path).map_err(failed("remove", path))?;
            }
        }
        Ok(())
    }

    fn aside(&self, name: &str) -> PathBuf {
        self.root.join(format!("{ASIDE}{name}-{}", process::id()))
    }

    /// The same, and of what is not.
    pub fn all_names(&self) -> Result<Vec<String>, Refused> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("read", &self.root))?,
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let names: Vec<_> = names
            .collect::<io::Result<_>>()
            .map_err(failed("read", &self.root))?;
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        Ok(names.collect())
    }
}

/// Whether the lock is the one that the folder `place` has now.
pub fn is_still(lock: &File, place: &Path) -> bool {
    let ours = lock.metadata().map(|found| found.ino());
    let theirs = fs::metadata(place.join(LOCK)).map(|found| found.ino());
    matches!((ours, theirs), (Ok(ours), Ok(theirs)) if ours == theirs)
}

fn make_private(path: &Path) -> Result<(), Refused> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700).recursive(true);
    builder.create(path).map_err(failed("create", path))
}
