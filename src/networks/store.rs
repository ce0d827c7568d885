//! The networks of a home: made, found, listed, removed. Addresses are given under one lock, that of the folder of
//! all; who joins or removes a network holds that of the network.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::shelf::{LOCK, Shelf, failed, is_still};
use crate::spec::{Subnets, check_network_name, nearest, parse_subnet, time};

const RECORD: &str = "network.json";

/// Where the switch listens.
pub const SWITCH: &str = "switch";

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
pub struct Networks(Shelf);

impl Networks {
    /// The networks of the store at `home`, which need not be there.
    pub fn of(home: &Path) -> Self {
        Self(Shelf::of(home.join("networks"), RECORD))
    }

    /// Makes a network.
    pub fn create(&self, name: &str, draft: Draft) -> Result<Record, Error> {
        check_network_name(name).map_err(Error::Asked)?;
        let root = self.0.root()?;
        let all = File::open(root).map_err(failed("open", root))?;
        lock(&all, root)?;
        let others = self.list()?;
        let place = self.0.place(name);
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
        let aside = self.0.begin(name, &record)?;
        fs::rename(&aside, &place).map_err(failed("create", place))?;
        Ok(record)
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<Vec<Record>, Error> {
        let names = self.0.names()?;
        // One that is removed meanwhile is left out.
        let found = names.iter().map(|name| Ok(self.0.read(name)?));
        found.filter_map(Result::transpose).collect()
    }

    /// The network of a name, an ID, or the beginning of one.
    pub fn find(&self, asked: &str) -> Result<Record, Error> {
        check_network_name(asked).map_err(|_| self.unknown(asked))?;
        if let Some(record) = self.0.read(asked)? {
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
        let place = self.0.place(name);
        loop {
            let path = place.join(LOCK);
            let held = File::open(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => self.unknown(name),
                _ => failed("open", &path)(error).into(),
            })?;
            lock(&held, &place)?;
            // Before the lock was ours it may have been removed.
            if !is_still(&held, &place) {
                continue;
            }
            let folder = File::open(&place).map_err(failed("open", &place))?;
            return Ok(Door {
                record: self.0.read(name)?.ok_or_else(|| self.unknown(name))?,
                folder: folder.into(),
                _lock: held,
            });
        }
    }

    /// Removes a network, unless `user` says which machine is on it; gives what was known of it.
    pub fn remove<E: From<Error>>(
        &self,
        asked: &str,
        user: impl FnOnce(&str) -> Result<Option<String>, E>,
    ) -> Result<Record, E> {
        let name = self.find(asked)?.name;
        let door = self.enter(&name)?;
        if let Some(machine) = user(&name)? {
            let network = name;
            return Err(Error::InUse { network, machine }.into());
        }
        self.0.remove(&name).map_err(Error::from)?;
        Ok(door.record)
    }

    /// Removes what dead processes left unfinished.
    pub fn sweep(&self) -> Result<(), Error> {
        Ok(self.0.sweep()?)
    }

    fn unknown(&self, asked: &str) -> Error {
        let known = self.0.names().unwrap_or_default();
        Error::Unknown {
            hint: nearest(asked, known.iter().map(String::as_str)),
            name: asked.to_owned(),
        }
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
    let locked = flock(file, FlockOperation::LockExclusive);
    Ok(locked.map_err(|errno| failed("lock", path)(errno.into()))?)
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
        networks.remove(name, |_| Ok(None)).map(drop)
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
        assert_eq!(networks.0.all_names().unwrap(), ["a"], "and leaves nothing");
    }

    #[test]
    fn networks_are_found_by_name_and_by_id() {
        let (_home, networks) = networks();
        let made = networks.create("a", Draft::default()).unwrap();
        assert_eq!(networks.find("a").unwrap(), made);
        assert_eq!(networks.find(&made.id[..12]).unwrap(), made);
        for unknown in ["nobody", "../a", "", &made.id[1..]] {
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
        assert!(
            networks.0.all_names().unwrap().is_empty(),
            "and leaves nothing"
        );
    }

    #[test]
    fn all_networks_at_most_and_one_more_is_a_line() {
        let (_home, networks) = networks();
        networks.create("all", with("10.117.128.0/17")).unwrap();
        let refused = networks.create("one", Draft::default()).unwrap_err();
        assert!(matches!(refused, Error::Full));
        fs::create_dir(networks.0.place(".data-4194305")).unwrap();
        networks.sweep().unwrap();
        assert_eq!(networks.0.all_names().unwrap(), ["all"]);
    }
}
