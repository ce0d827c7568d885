//! The networks of a home: made, found, listed, removed. Addresses are given under one lock, that of the folder of
//! all; who joins or removes a network holds that of the network.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::error::{Error, failed};
use crate::spec::{Subnets, check_network_name, nearest, parse_subnet, time};

/// What is locked by who joins a network or removes it.
pub const LOCK: &str = "lock";
const RECORD: &str = "network.json";

/// Where the switch listens.
pub const SWITCH: &str = "switch";

/// What begins the names of what is not finished: no network's name does.
const ASIDE: char = '.';

/// Where addresses come from that nobody asked for: 10.117.128.0/17, in networks of 8 bits each. A machine that is
/// on no network has its own from beside it.
const POOL: Ipv4Addr = Ipv4Addr::new(10, 117, 128, 0);
const POOL_BITS: u8 = 24;
const POOL_SIZE: u32 = 128;

/// What is asked of a network to be made.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Its addresses, as typed; one for each version of IP at most.
    pub subnets: Vec<String>,
    /// Whether it has no way to the world outside.
    pub internal: bool,
    /// Words of whoever makes it.
    pub labels: BTreeMap<String, String>,
}

/// What is known of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Its ID: 64 hexadecimal digits.
    pub id: String,
    /// When it was made.
    pub created: time::Nanoseconds,
    /// Words of whoever made it.
    pub labels: BTreeMap<String, String>,
    /// Whether it has no way to the world outside.
    pub internal: bool,
    /// Its addresses.
    pub subnets: Subnets,
}

/// A network that nobody else joins or removes as long as this lives.
#[derive(Debug)]
pub struct Door {
    /// What is known of it.
    pub record: Record,
    /// Its folder.
    pub folder: OwnedFd,
    /// What keeps others out.
    _lock: File,
}

/// All networks of a home.
#[derive(Debug)]
pub struct Networks {
    root: PathBuf,
}

impl Networks {
    /// The networks of the store at `home`, which need not be there.
    pub fn of(home: &Path) -> Self {
        Self {
            root: home.join("networks"),
        }
    }

    /// Makes a network.
    pub fn create(&self, name: &str, draft: Draft) -> Result<Record, Error> {
        check_network_name(name).map_err(Error::Asked)?;
        make_private(&self.root)?;
        let all = File::open(&self.root).map_err(failed("open", &self.root))?;
        lock(&all, &self.root)?;
        let others = self.list()?;
        let place = self.root.join(name);
        if place.exists() {
            return Err(Error::Taken(name.to_owned()));
        }
        let id = random_id()?;
        let record = Record {
            name: name.to_owned(),
            subnets: choose(&draft.subnets, &id, &others)?,
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            created: time::now(),
            labels: draft.labels,
            internal: draft.internal,
        };
        let aside = self.aside(name);
        make_private(&aside)?;
        File::create(aside.join(LOCK)).map_err(failed("create", &aside))?;
        let text = serde_json::to_vec(&record).map_err(io::Error::from);
        text.and_then(|text| fs::write(aside.join(RECORD), text))
            .map_err(failed("write", &aside))?;
        fs::rename(&aside, &place).map_err(failed("create", place))?;
        Ok(record)
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<Vec<Record>, Error> {
        let mut names = self.names()?;
        names.retain(|name| !name.starts_with(ASIDE));
        names.sort();
        // One that is removed meanwhile is left out.
        let found = names.iter().map(|name| self.read(name));
        found.filter_map(Result::transpose).collect()
    }

    /// The network of a name, an ID, or the beginning of one.
    pub fn find(&self, asked: &str) -> Result<Record, Error> {
        check_network_name(asked).map_err(|_| self.unknown(asked))?;
        if let Some(record) = self.read(asked)? {
            return Ok(record);
        }
        let mut found = self.list()?.into_iter();
        let mut next = || found.find(|record| record.id.starts_with(asked));
        match (next(), next()) {
            (Some(_), Some(_)) => Err(Error::Ambiguous(asked.to_owned())),
            (Some(record), None) => Ok(record),
            (None, _) => Err(self.unknown(asked)),
        }
    }

    /// A network by its name, for who joins or removes it; waits while somebody else does.
    pub fn enter(&self, name: &str) -> Result<Door, Error> {
        check_network_name(name).map_err(|_| self.unknown(name))?;
        let place = self.root.join(name);
        loop {
            let path = place.join(LOCK);
            let held = File::open(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => self.unknown(name),
                _ => failed("open", &path)(error),
            })?;
            lock(&held, &place)?;
            // Before the lock was ours it may have been removed.
            if !is_still(&held, &path) {
                continue;
            }
            let folder = File::open(&place).map_err(failed("open", &place))?;
            return Ok(Door {
                record: self.read(name)?.ok_or_else(|| self.unknown(name))?,
                folder: folder.into(),
                _lock: held,
            });
        }
    }

    /// Removes a network, unless `user` says which machine is on it.
    pub fn remove<E: From<Error>>(
        &self,
        asked: &str,
        user: impl FnOnce(&str) -> Result<Option<String>, E>,
    ) -> Result<(), E> {
        let name = self.find(asked)?.name;
        let _door = self.enter(&name)?;
        if let Some(machine) = user(&name)? {
            let network = name;
            return Err(Error::InUse { network, machine }.into());
        }
        let (place, aside) = (self.root.join(&name), self.aside(&name));
        fs::rename(&place, &aside).map_err(failed("remove", &place))?;
        Ok(fs::remove_dir_all(&aside).map_err(failed("remove", aside))?)
    }

    /// Removes what dead processes left unfinished.
    pub fn sweep(&self) -> Result<(), Error> {
        for name in self.names()? {
            let owner = name
                .strip_prefix(ASIDE)
                .and_then(|name| name.rsplit_once('-'));
            let Some((_, pid)) = owner else { continue };
            if !Path::new("/proc").join(pid).exists() {
                let path = self.root.join(&name);
                fs::remove_dir_all(&path).map_err(failed("remove", path))?;
            }
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Record>, Error> {
        let path = self.root.join(name).join(RECORD);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(failed("read", &path))?,
        };
        let record =
            serde_json::from_slice(&bytes).map_err(|error| failed("read", path)(error.into()))?;
        Ok(Some(record))
    }

    fn unknown(&self, asked: &str) -> Error {
        let mut known = self.names().unwrap_or_default();
        known.retain(|name| !name.starts_with(ASIDE));
        Error::Unknown {
            hint: nearest(asked, known.iter().map(String::as_str)),
            name: asked.to_owned(),
        }
    }

    fn aside(&self, name: &str) -> PathBuf {
        self.root.join(format!("{ASIDE}{name}-{}", process::id()))
    }

    fn names(&self) -> Result<Vec<String>, Error> {
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

impl Door {
    /// A short path of where its switch listens, for calls that take no descriptor, while this lives.
    pub fn switch_path(&self) -> String {
        format!("/proc/self/fd/{}/{SWITCH}", self.folder.as_raw_fd())
    }
}

/// The addresses that were asked for, or some that no other network has.
fn choose(asked: &[String], id: &[u8; 32], others: &[Record]) -> Result<Subnets, Error> {
    let (mut v4, mut v6) = (None, None);
    for text in asked {
        let (address, bits) = parse_subnet(text).map_err(Error::Asked)?;
        let is_second = match address {
            IpAddr::V4(address) => v4.replace((address, bits)).is_some(),
            IpAddr::V6(address) => v6.replace(address).is_some(),
        };
        if is_second {
            let text = "--subnet: a network has one of IPv4 and one of IPv6 at most";
            return Err(Error::Asked(text.to_owned()));
        }
    }
    let v6 = v6.unwrap_or_else(|| unique_local(id));
    let clash = |subnets: &Subnets| others.iter().find(|other| other.subnets.overlaps(subnets));
    if let Some((v4, bits)) = v4 {
        let subnets = Subnets { v4, bits, v6 };
        return match clash(&subnets) {
            None => Ok(subnets),
            Some(other) => Err(Error::Overlaps {
                asked: asked.join(", "),
                other: other.name.clone(),
            }),
        };
    }
    let candidates = (0..POOL_SIZE).map(|number| Subnets {
        v4: (u32::from(POOL) + (number << (32 - POOL_BITS))).into(),
        bits: POOL_BITS,
        v6,
    });
    if let Some(other) = others.iter().find(|other| other.subnets.v6 == v6) {
        return Err(Error::Overlaps {
            asked: asked.join(", "),
            other: other.name.clone(),
        });
    }
    let mut free = candidates.filter(|subnets| clash(subnets).is_none());
    free.next().ok_or(Error::Full)
}

/// A prefix of one's own (RFC 4193, 3.2): 40 random bits, and 16 for networks.
fn unique_local(id: &[u8; 32]) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..8].copy_from_slice(&id[..7]);
    octets.into()
}

fn random_id() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}

fn lock(file: &File, path: &Path) -> Result<(), Error> {
    flock(file, FlockOperation::LockExclusive).map_err(|errno| failed("lock", path)(errno.into()))
}

/// Whether the lock is the one at `path`.
fn is_still(lock: &File, path: &Path) -> bool {
    let ours = lock.metadata().map(|found| found.ino());
    let theirs = fs::metadata(path).map(|found| found.ino());
    matches!((ours, theirs), (Ok(ours), Ok(theirs)) if ours == theirs)
}

fn make_private(path: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700).recursive(true);
    builder.create(path).map_err(failed("create", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks() -> (tempfile::TempDir, Networks) {
        let home = tempfile::tempdir().unwrap();
        let networks = Networks::of(home.path());
        (home, networks)
    }

    fn with(subnet: &str) -> Draft {
        Draft {
            subnets: vec![subnet.to_owned()],
            ..Draft::default()
        }
    }

    fn remove(networks: &Networks, name: &str) -> Result<(), Error> {
        networks.remove(name, |_| Ok(None))
    }

    #[test]
    fn each_network_has_addresses_of_its_own() {
        let (_home, networks) = networks();
        assert!(networks.list().unwrap().is_empty());
        let made = ["b", "a", "c"].map(|name| networks.create(name, Draft::default()).unwrap());
        let shown = made.each_ref().map(|record| record.subnets.v4.to_string());
        assert_eq!(shown, ["10.117.128.0", "10.117.129.0", "10.117.130.0"]);
        assert!(!made[0].subnets.overlaps(&made[1].subnets));
        assert_eq!(made[0].subnets.v6.segments()[0] >> 8, 0xfd);
        remove(&networks, "a").unwrap();
        let next = networks.create("d", Draft::default()).unwrap();
        assert_eq!(next.subnets.v4.to_string(), "10.117.129.0");
        let names: Vec<_> = networks
            .list()
            .unwrap()
            .into_iter()
            .map(|one| one.name)
            .collect();
        assert_eq!(names, ["b", "c", "d"]);
    }

    #[test]
    fn what_is_taken_is_not_given_twice() {
        let (_home, networks) = networks();
        let first = networks.create("a", with("10.5.0.0/16")).unwrap();
        assert!(matches!(
            networks.create("a", Draft::default()),
            Err(Error::Taken(_))
        ));
        for asked in ["10.5.7.0/24", "10.0.0.0/8"] {
            let refused = networks.create("b", with(asked)).unwrap_err();
            assert!(matches!(refused, Error::Overlaps { ref other, .. } if other == "a"));
        }
        let v6 = format!("{}/64", first.subnets.v6);
        assert!(matches!(
            networks.create("b", with(&v6)),
            Err(Error::Overlaps { .. })
        ));
        assert!(matches!(
            networks.create("b", with("10.5.0.0/99")),
            Err(Error::Asked(_))
        ));
        assert!(matches!(
            networks.create("none", Draft::default()),
            Err(Error::Asked(_))
        ));
        let twice = Draft {
            subnets: vec!["10.6.0.0/24".to_owned(), "10.7.0.0/24".to_owned()],
            ..Draft::default()
        };
        assert!(matches!(networks.create("b", twice), Err(Error::Asked(_))));
        assert_eq!(networks.names().unwrap(), ["a"], "and leaves nothing");
    }

    #[test]
    fn networks_are_found_by_name_and_by_id() {
        let (_home, networks) = networks();
        let made = networks.create("a", Draft::default()).unwrap();
        assert_eq!(networks.find("a").unwrap(), made);
        assert_eq!(networks.find(&made.id[..12]).unwrap(), made);
        for unknown in ["b", "../a", "", &made.id[1..]] {
            assert!(
                matches!(networks.find(unknown), Err(Error::Unknown { .. })),
                "{unknown}"
            );
        }
    }

    #[test]
    fn a_network_in_use_is_not_removed() {
        let (_home, networks) = networks();
        networks.create("a", Draft::default()).unwrap();
        let refused = networks.remove("a", |_| Ok::<_, Error>(Some("web".to_owned())));
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("`a`") && text.contains("`web`"), "{text}");
        remove(&networks, "a").unwrap();
        assert!(matches!(networks.enter("a"), Err(Error::Unknown { .. })));
        assert!(networks.names().unwrap().is_empty(), "and leaves nothing");
    }

    #[test]
    fn all_networks_at_most_and_one_more_is_a_line() {
        let (_home, networks) = networks();
        networks.create("all", with("10.117.128.0/17")).unwrap();
        let refused = networks.create("one", Draft::default()).unwrap_err();
        assert!(matches!(refused, Error::Full));
        fs::create_dir(networks.root.join(".data-4194305")).unwrap();
        networks.sweep().unwrap();
        assert_eq!(networks.names().unwrap(), ["all"]);
    }
}
