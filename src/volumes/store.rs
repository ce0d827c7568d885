//! The volumes of a store: made, used, listed, removed. Everything that is decided is decided under the
//! volume's lock, so that a volume in use is not removed, and one that is empty is filled once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::{seed, time};
use crate::shelf::{LOCK, Shelf, failed, is_still};
use crate::spec::{check_volume_name, nearest};

const DATA: &str = "data";
const RECORD: &str = "volume.json";

/// What is known of a volume, with docker's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Record {
    /// Its name.
    pub name: String,
    /// When it was made, by RFC 3339.
    pub created_at: String,
    /// Words of whoever made it.
    pub labels: BTreeMap<String, String>,
}

/// A volume.
#[derive(Debug, Clone)]
pub struct Volume {
    /// What is known of it.
    pub record: Record,
    /// Its folder on the host.
    pub data: PathBuf,
}

/// A volume in use: as long as this lives it is not removed.
#[derive(Debug)]
pub struct Lease {
    /// Its folder on the host.
    pub data: PathBuf,
    _lock: File,
}

/// All volumes of a store.
#[derive(Debug)]
pub struct Volumes(Shelf);

impl Volumes {
    /// The volumes of the store at `home`, which need not be there.
    pub fn of(home: &Path) -> Self {
        Self(Shelf::of(home.join("volumes"), RECORD))
    }

    /// Makes a volume; nothing where it is there.
    pub fn create(&self, name: &str, labels: BTreeMap<String, String>) -> Result<(), Error> {
        check_volume_name(name).map_err(Error::Name)?;
        let place = self.0.place(name);
        if place.exists() {
            return Ok(());
        }
        self.0.root()?;
        let record = Record {
            name: name.to_owned(),
            created_at: time::now(),
            labels,
        };
        let aside = self.0.begin(name, &record)?;
        let data = aside.join(DATA);
        fs::create_dir(&data).map_err(failed("create", &data))?;
        match fs::rename(&aside, &place) {
            Ok(()) => Ok(()),
            // Somebody else was faster, and made the same.
            Err(_) if place.exists() => {
                Ok(fs::remove_dir_all(&aside).map_err(failed("remove", aside))?)
            }
            Err(error) => Err(failed("create", place)(error).into()),
        }
    }

    /// A volume to use, made if there is none. While nobody else uses it and it is empty, it gets what
    /// the directory `target` of an image has, whose tree is in the folder that `tree` gives: it is
    /// asked for only then.
    pub fn take<E: From<Error>>(
        &self,
        name: &str,
        target: &str,
        tree: Option<&mut dyn FnMut() -> Result<PathBuf, E>>,
    ) -> Result<Lease, E> {
        let mut tree = tree;
        loop {
            self.create(name, BTreeMap::new())?;
            let place = self.0.place(name);
            let Some(lock) = open_lock(&place)? else {
                continue;
            };
            if let Some(tree) = &mut tree
                && is_alone(&lock, &place)?
                && is_empty(&place.join(DATA))?
            {
                fill(&place, target, &tree()?)?;
            }
            flock(&lock, FlockOperation::LockShared)
                .map_err(|errno| Error::from(failed("lock", &place)(errno.into())))?;
            // Between the two locks it may have been removed.
            if is_still(&lock, &place) {
                return Ok(Lease {
                    data: place.join(DATA),
                    _lock: lock,
                });
            }
        }
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<Vec<Volume>, Error> {
        let names = self.0.names()?;
        // One that is removed meanwhile is left out.
        let found = names.iter().map(|name| self.read(name));
        found.filter_map(Result::transpose).collect()
    }

    /// The volume of this name.
    pub fn find(&self, name: &str) -> Result<Volume, Error> {
        check_volume_name(name).map_err(Error::Name)?;
        self.read(name)?.ok_or_else(|| self.unknown(name))
    }

    fn read(&self, name: &str) -> Result<Option<Volume>, Error> {
        let data = self.0.place(name).join(DATA);
        let record = self.0.read(name)?;
        Ok(record.map(|record| Volume { record, data }))
    }

    fn unknown(&self, name: &str) -> Error {
        let known = self.0.names().unwrap_or_default();
        Error::Unknown {
            hint: nearest(name, known.iter().map(String::as_str)),
            name: name.to_owned(),
        }
    }

    /// Removes a volume that nobody uses.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let in_use = || Error::InUse(name.to_owned());
        self.find(name)?;
        let place = self.0.place(name);
        let lock = open_lock(&place)?.ok_or_else(|| self.unknown(name))?;
        if !is_alone(&lock, &place)? {
            return Err(in_use());
        }
        if !is_still(&lock, &place) {
            return Err(self.unknown(name));
        }
        Ok(self.0.remove(name)?)
    }

    /// The names of the volumes that nobody uses now.
    pub fn unused(&self) -> Result<Vec<String>, Error> {
        let mut unused = Vec::new();
        for Volume { record, .. } in self.list()? {
            let place = self.0.place(&record.name);
            if let Some(lock) = open_lock(&place)?
                && is_alone(&lock, &place)?
            {
                unused.push(record.name);
            }
        }
        Ok(unused)
    }

    /// Removes what dead processes left unfinished.
    pub fn sweep(&self) -> Result<(), Error> {
        Ok(self.0.sweep()?)
    }
}

/// The lock of the volume in this folder, if there is one.
fn open_lock(place: &Path) -> Result<Option<File>, Error> {
    let path = place.join(LOCK);
    match File::open(&path) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("open", path)(error).into()),
    }
}

/// Whether nobody else has the lock: then this process has it alone.
fn is_alone(lock: &File, place: &Path) -> Result<bool, Error> {
    match flock(lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(failed("lock", place)(errno.into()).into()),
    }
}

fn is_empty(folder: &Path) -> Result<bool, Error> {
    let mut entries = fs::read_dir(folder).map_err(failed("read", folder))?;
    Ok(entries.next().is_none())
}

/// Fills an empty volume: beside it, and then at once.
fn fill(place: &Path, target: &str, tree: &Path) -> Result<(), Error> {
    let aside = place.join("seed");
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", aside)(error).into());
        }
        _ => {}
    }
    if seed::copy(tree, target, &aside).map_err(failed("fill", place))? {
        fs::rename(&aside, place.join(DATA)).map_err(failed("fill", place))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes() -> (tempfile::TempDir, Volumes) {
        let home = tempfile::tempdir().unwrap();
        let volumes = Volumes::of(home.path());
        (home, volumes)
    }

    fn take(volumes: &Volumes, tree: Option<PathBuf>) -> Lease {
        let mut tree = tree.map(|tree| move || Ok::<_, Error>(tree.clone()));
        let tree = tree.as_mut().map(|tree| tree as &mut dyn FnMut() -> _);
        volumes.take("data", "/srv", tree).unwrap()
    }

    #[test]
    fn a_volume_is_made_once_and_listed() {
        let (_home, volumes) = volumes();
        assert!(volumes.list().unwrap().is_empty());
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        volumes.create("data", labels.clone()).unwrap();
        volumes.create("data", BTreeMap::new()).unwrap();
        let found = volumes.list().unwrap();
        assert_eq!((found.len(), &found[0].record.labels), (1, &labels));
        assert!(matches!(volumes.find("gone"), Err(Error::Unknown { .. })));
        assert!(matches!(volumes.find("../x"), Err(Error::Name(_))));
        assert!(matches!(volumes.create("a/b", labels), Err(Error::Name(_))));
    }

    #[test]
    fn a_volume_in_use_is_not_removed() {
        let (_home, volumes) = volumes();
        let lease = take(&volumes, None);
        let other = take(&volumes, None);
        drop(lease);
        assert!(matches!(volumes.remove("data"), Err(Error::InUse(_))));
        assert!(volumes.unused().unwrap().is_empty());
        drop(other);
        assert_eq!(volumes.unused().unwrap(), ["data"]);
        volumes.remove("data").unwrap();
        assert!(matches!(volumes.remove("data"), Err(Error::Unknown { .. })));
        assert!(
            volumes.0.all_names().unwrap().is_empty(),
            "and leaves nothing"
        );
    }

    #[test]
    fn an_empty_volume_is_filled_and_another_is_not() {
        let (home, volumes) = volumes();
        let tree = home.path().join("tree");
        fs::create_dir_all(tree.join("srv")).unwrap();
        fs::write(tree.join("srv/file"), "image's").unwrap();
        let lease = take(&volumes, Some(tree.clone()));
        let file = lease.data.join("file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "image's");
        fs::write(&file, "changed").unwrap();
        drop(lease);
        take(&volumes, Some(tree));
        assert_eq!(fs::read_to_string(&file).unwrap(), "changed");
    }

    #[test]
    fn what_a_dead_process_left_is_swept() {
        let (_home, volumes) = volumes();
        volumes.create("data", BTreeMap::new()).unwrap();
        fs::create_dir(volumes.0.place(".data-4194305")).unwrap();
        volumes.sweep().unwrap();
        assert_eq!(volumes.0.all_names().unwrap(), ["data"]);
    }
}
