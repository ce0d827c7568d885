//! Which names have which addresses, as far as the guest was told by us, and not longer ago than the answers hold.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most addresses that are remembered, and most names of each.
const MOST_ADDRESSES: usize = 2048;
const MOST_NAMES: usize = 8;

/// How long an answer holds, whatever it says of itself: programs look a name up and connect a moment later, and what
/// is for ever in the DNS is not here.
pub const SHORTEST: Duration = Duration::from_secs(60);
pub const LONGEST: Duration = Duration::from_secs(3600);

/// A name of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// In lower case.
    pub name: String,
    /// Whether the host's own file says so, and nobody else's server.
    pub is_ours: bool,
    until: Instant,
}

/// All of them.
#[derive(Debug, Default)]
pub struct KnownNames(HashMap<IpAddr, Vec<Known>>);

impl KnownNames {
    /// The guest is told that `name` has `address` for so many seconds.
    pub fn learn(&mut self, name: &str, address: IpAddr, ttl: u32, is_ours: bool, now: Instant) {
        let until = now + Duration::from_secs(ttl.into()).clamp(SHORTEST, LONGEST);
        if !self.0.contains_key(&address) && self.0.len() >= MOST_ADDRESSES {
            self.make_room(now);
        }
        let names = self.0.entry(address).or_default();
        names.retain(|known| known.name != name && known.until > now);
        if names.len() >= MOST_NAMES {
            names.remove(0);
        }
        names.push(Known {
            name: name.to_owned(),
            is_ours,
            until,
        });
    }

    /// The names of `address`; the last one was told last.
    pub fn names(&self, address: IpAddr, now: Instant) -> impl Iterator<Item = &Known> {
        let names = self.0.get(&address).into_iter().flatten();
        names.filter(move |known| known.until > now)
    }

    /// Forgets what does not hold any more, or else the address whose names end first.
    fn make_room(&mut self, now: Instant) {
        let last = |names: &[Known]| names.iter().map(|known| known.until).max();
        self.0
            .retain(|_, names| last(names).is_some_and(|until| until > now));
        if self.0.len() >= MOST_ADDRESSES {
            let first = self.0.iter().min_by_key(|(_, names)| last(names));
            if let Some(address) = first.map(|(address, _)| *address) {
                self.0.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn names(known: &KnownNames, address: IpAddr, now: Instant) -> Vec<&str> {
        let names = known.names(address, now);
        names.map(|known| known.name.as_str()).collect()
    }

    #[test]
    fn a_name_is_believed_as_long_as_it_says_within_bounds() {
        let mut known = KnownNames::default();
        let (now, address) = (Instant::now(), IpAddr::from([1, 1, 1, 1]));
        let later = |seconds| now + Duration::from_secs(seconds);
        for (ttl, last) in [(0, 59), (300, 299), (u32::MAX, 3599)] {
            known.learn("a", address, ttl, false, now);
            assert_eq!(names(&known, address, later(last)), ["a"], "{ttl}");
            assert_eq!(names(&known, address, later(last + 1)), [""; 0], "{ttl}");
        }
        known.learn("b", address, 0, false, later(5000));
        assert_eq!(names(&known, address, later(5000)), ["b"]);
        assert_eq!(names(&known, [1, 1, 1, 2].into(), now), [""; 0]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = KnownNames::default();
        let now = Instant::now();
        for number in 0..10_000u32 {
            let address = Ipv4Addr::from(number).into();
            known.learn("x", address, 100 + number % 7, false, now);
            known.learn(&number.to_string(), [9, 9, 9, 9].into(), 3600, false, now);
        }
        assert_eq!(known.0.len(), MOST_ADDRESSES);
        let last = names(&known, [9, 9, 9, 9].into(), now);
        assert_eq!((last.len(), last[MOST_NAMES - 1]), (MOST_NAMES, "9999"));
        // What is over makes room first.
        let later = now + LONGEST;
        known.learn("y", [8, 8, 8, 8].into(), 0, false, later);
        assert_eq!(known.0.len(), 1);
    }
}
