//! Whom a guest may reach: what leads to the host itself or to its cloud's keys is never reached; for the rest the
//! first rule that speaks of it holds, or else what holds for everything.
//!
//! A rule by name speaks of the addresses that the guest was told for such a name, by us. A name is whatever its owner
//! says it is: no allowed name leads into private networks, unless the host's own file says so, or who wrote the rules
//! lets the guest go there anyway.

mod known;
mod networks;

pub use networks::is_never;

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use known::KnownNames;
use networks::{embedded, is_private};

use crate::spec::{Carrier, Egress, EgressPolicy, Place, Rule};

/// How long a name may be kept by who is told, seconds: as long as it is known here.
pub const LONGEST_TTL: u32 = 3600;

/// What the guest may do, and which names it was told.
#[derive(Debug, Default)]
pub struct Policy {
    egress: EgressPolicy,
    known: KnownNames,
}

impl Policy {
    /// As `egress` says.
    pub fn new(egress: EgressPolicy) -> Self {
        Self {
            egress,
            known: KnownNames::default(),
        }
    }

    /// Whether the guest may reach `peer`; of echo requests the port says nothing.
    pub fn allows(&self, carrier: Carrier, peer: SocketAddr, now: Instant) -> bool {
        let address = peer.ip();
        if is_never(address) {
            return false;
        }
        let mut rules = self.egress.rules.iter();
        let rule = rules
            .find(|rule| rule.covers(carrier, peer.port()) && self.speaks_of(rule, address, now));
        rule.map_or_else(|| self.rest_allows(address), |rule| rule.allows)
    }

    fn rest_allows(&self, address: IpAddr) -> bool {
        match self.egress.base {
            Egress::None => false,
            Egress::Public => !is_private(address),
            Egress::Any => true,
        }
    }

    fn speaks_of(&self, rule: &Rule, address: IpAddr, now: Instant) -> bool {
        match &rule.place {
            Place::Everywhere => true,
            Place::Public => !is_private(address),
            Place::Network(network) => {
                // Who is denied an address has no way to it through a translator either.
                let behind = match address {
                    IpAddr::V6(address) if !rule.allows => embedded(address),
                    _ => None,
                };
                let holds = |address: IpAddr| network.holds(address);
                holds(address) || behind.is_some_and(|behind| holds(behind.into()))
            }
            Place::Named(pattern) => {
                let leads_anywhere =
                    !rule.allows || self.egress.base == Egress::Any || !is_private(address);
                let mut names = self.known.names(address, now);
                names.any(|known| pattern.matches(&known.name) && (leads_anywhere || known.is_ours))
            }
        }
    }

    /// Whether the guest is told of `name`. Where anybody is reached without a rule, it is.
    pub fn allows_name(&self, name: &str) -> bool {
        for rule in &self.egress.rules {
            let speaks = match &rule.place {
                Place::Everywhere => true,
                Place::Public => rule.allows,
                Place::Network(_) => false,
                Place::Named(pattern) => pattern.matches(name),
            };
            // A name of which only some ports are denied is of use for the others.
            if speaks && (rule.allows || rule.covers_all()) {
                return rule.allows;
            }
        }
        self.egress.base != Egress::None
    }

    /// Whether a rule says that `name` is reached at no port: then neither is one that is called so in truth.
    pub fn denies_name(&self, name: &str) -> bool {
        let mut rules = self.egress.rules.iter();
        let speaks = |rule: &&Rule| match &rule.place {
            Place::Named(pattern) => pattern.matches(name) && (rule.allows || rule.covers_all()),
            _ => false,
        };
        rules.find(speaks).is_some_and(|rule| !rule.allows)
    }

    /// Whether names are asked for only as far as the rules go: then all questions and answers pass through here.
    pub fn guards_names(&self) -> bool {
        self.egress.base == Egress::None || self.egress.has_names()
    }

    /// Whether an answer may have `address` in it: with one that leads where its owner has no business the whole answer
    /// is not believed.
    pub fn admits(&self, address: IpAddr) -> bool {
        let is_open = self.egress.base == Egress::Any && !self.egress.has_names();
        let opens = |rule: &Rule| match &rule.place {
            Place::Everywhere => rule.allows,
            Place::Network(network) => rule.allows && network.holds(address),
            Place::Public | Place::Named(_) => false,
        };
        let is_reached = || self.egress.base == Egress::Any || self.egress.rules.iter().any(opens);
        is_open || !is_never(address) && (!is_private(address) || is_reached())
    }

    /// The guest is told that `name` has `address`; `is_ours` says that the host's own file says so.
    pub fn learn(&mut self, name: &str, address: IpAddr, ttl: u32, is_ours: bool, now: Instant) {
        self.known.learn(name, address, ttl, is_ours, now);
    }
}

#[cfg(test)]
mod tests;
