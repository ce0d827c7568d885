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

use crate::spec::{Carrier, Egress, EgressPolicy, Place, Rule, Verdict, Why};

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

    /// What it says.
    pub fn egress(&self) -> &EgressPolicy {
        &self.egress
    }

    /// Whether the guest may reach `peer`; of echo requests the port says nothing.
    pub fn judge(&self, carrier: Carrier, peer: SocketAddr, now: Instant) -> Verdict {
        let address = peer.ip();
        if is_never(address) {
            return refused(Why::Never);
        }
        let speaks =
            |rule: &Rule| rule.covers(carrier, peer.port()) && self.speaks_of(rule, address, now);
        self.first_rule(speaks).unwrap_or_else(|| {
            let base = self.egress.base;
            let allows = match base {
                Egress::None => false,
                Egress::Public => !is_private(address),
                Egress::Any => true,
            };
            let why = Why::Rest(base);
            Verdict { allows, why }
        })
    }

    /// What the first rule says that `speaks` of something.
    fn first_rule(&self, speaks: impl Fn(&Rule) -> bool) -> Option<Verdict> {
        let mut rules = self.egress.rules.iter().enumerate();
        rules
            .find(|(_, rule)| speaks(rule))
            .map(|(number, rule)| Verdict {
                allows: rule.allows,
                // There are fewer: they have 8 KiB of text at most.
                why: Why::Rule(u16::try_from(number).unwrap_or(u16::MAX)),
            })
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
    pub fn judge_name(&self, name: &str) -> Verdict {
        let speaks = |rule: &Rule| {
            let speaks = match &rule.place {
                Place::Everywhere => true,
                Place::Public => rule.allows,
                Place::Network(_) => false,
                Place::Named(pattern) => pattern.matches(name),
            };
            // A name of which only some ports are denied is of use for the others.
            speaks && (rule.allows || rule.covers_all())
        };
        let base = self.egress.base;
        self.first_rule(speaks).unwrap_or(Verdict {
            allows: base != Egress::None,
            why: Why::Rest(base),
        })
    }

    /// The rule by which `name` is reached at no port, if there is one: then neither is one that is called so in truth.
    pub fn denial_of(&self, name: &str) -> Option<Verdict> {
        let speaks = |rule: &Rule| match &rule.place {
            Place::Named(pattern) => pattern.matches(name) && (rule.allows || rule.covers_all()),
            _ => false,
        };
        self.first_rule(speaks).filter(|verdict| !verdict.allows)
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

    /// What the guest was told last to be the name of `address`.
    pub fn name_of(&self, address: IpAddr, now: Instant) -> Option<&str> {
        let last = self.known.names(address, now).last();
        last.map(|known| known.name.as_str())
    }

    /// The guest is told that `name` has `address`; `is_ours` says that the host's own file says so.
    pub fn learn(&mut self, name: &str, address: IpAddr, ttl: u32, is_ours: bool, now: Instant) {
        self.known.learn(name, address, ttl, is_ours, now);
    }
}

/// No, and why.
pub fn refused(why: Why) -> Verdict {
    let allows = false;
    Verdict { allows, why }
}

#[cfg(test)]
mod tests;
