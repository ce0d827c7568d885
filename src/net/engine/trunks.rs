//! The other machines on the guest's networks: packets for them go to the switch, and theirs to the guest; what the guest
//! calls them is answered here. Whom the guest may reach outside, and how much of that, does not concern them.

use std::io;
use std::mem;
use std::net::IpAddr;

use super::Network;
use crate::net::changes::Change;
use crate::net::dns::message::{Failure, Question, TYPE_A, TYPE_AAAA, TYPE_PTR, reversed};
use crate::net::link::{Frame, Unsummed};
use crate::net::plan::Plan;
use crate::net::policy::Policy;
use crate::net::switch::Member;
use crate::net::trunk::{Heard, Trunk};
use crate::net::wire::{self, Parsed, Refusal};
use crate::spec::{Egress, EgressPolicy, MOST_NETWORKS, MOST_PUBLISHED};

/// Most addresses of an answer: with the longest question it fits into the shortest datagram (RFC 1035, 4.2.1).
const MOST_ANSWERS: usize = 8;

/// How long a name may be kept, seconds: who has it may be gone the next moment.
const LIFETIME: u32 = 1;

/// Networks have numbers behind those of all doors.
const FIRST: u64 = MOST_PUBLISHED as u64;

/// The number by which a network is heard of.
fn token(number: u64) -> u64 {
    (FIRST + number) << 32
}

/// The number of the network of a token, if it is one's.
pub fn number_of(token: u64) -> Option<u64> {
    let is_one = token & u64::from(u32::MAX) == 0;
    (token >> 32).checked_sub(FIRST).filter(|_| is_one)
}

/// Whom a guest with these places reaches outside: nobody from networks that all have no way there.
pub fn reach_of(plan: &Plan, asked: &EgressPolicy) -> EgressPolicy {
    let seats = plan.seats();
    match !seats.is_empty() && seats.iter().all(|seat| seat.internal) {
        true => Egress::None.into(),
        false => asked.clone(),
    }
}

impl Network {
    /// Listens to a switch.
    pub(super) fn plug(&mut self, mut trunk: Trunk) -> io::Result<()> {
        trunk.number = self.next_trunk;
        self.next_trunk += 1;
        self.poller.watch(&trunk, token(trunk.number))?;
        self.trunks.push(trunk);
        Ok(())
    }

    /// Does what was asked for meanwhile.
    pub(super) fn take_changes(&mut self) {
        for change in self.changes.take() {
            match change {
                Change::Join(seat, socket) => {
                    let is_new = self.trunks.len() < MOST_NETWORKS
                        && !self
                            .plan
                            .seats()
                            .iter()
                            .any(|other| other.network == seat.network);
                    // Without a file to watch it by nobody is heard of there, and its end is heard by nobody else.
                    if is_new && self.plug(Trunk::new((*seat).clone(), socket)).is_ok() {
                        self.plan.join(*seat);
                    }
                }
                Change::Leave(network) => {
                    self.trunks.retain(|trunk| trunk.seat.network != network);
                    self.first_heard = 0;
                    self.plan.leave(&network);
                }
            }
            let egress = reach_of(&self.plan, &self.egress);
            if egress != *self.policy.egress() {
                self.policy = Policy::new(egress);
            }
        }
    }

    /// Something has become of the connection to a switch.
    pub(super) fn wake_trunk(&mut self, number: u64, readable: bool, writable: bool) {
        let mut trunks = self.trunks.iter_mut();
        if let Some(trunk) = trunks.find(|trunk| trunk.number == number) {
            trunk.wake(readable, writable);
        }
    }

    /// Whether a frame was for an address of a network's, and not its gateway's: then it has gone there.
    pub(super) fn pass_to_member(&mut self, frame: &[u8], unsummed: Option<Unsummed>) -> bool {
        if self.trunks.is_empty() {
            return false;
        }
        let Some(ends) = wire::ends_of_frame(frame) else {
            return false;
        };
        let mut trunks = self.trunks.iter_mut();
        let found = trunks.find(|trunk| trunk.seat.subnets.holds(ends.target));
        let Some(trunk) = found.filter(|trunk| !trunk.seat.is_gateway(ends.target)) else {
            return false;
        };
        if ends.is_of_link() {
            return false;
        }
        if !trunk.seat.is_own(ends.source) {
            return true;
        }
        if trunk.knows(ends.target) {
            trunk.send(ends.whole, unsummed);
        } else if ends.target != trunk.seat.subnets.broadcast()
            && let Some(Parsed::Ip(packet)) = wire::parse(frame)
        {
            self.refuse(&packet, Refusal::Host);
        }
        true
    }

    /// Whether somebody has `address`.
    #[cfg(test)]
    pub(in crate::net) fn knows(&self, address: IpAddr) -> bool {
        self.trunks.iter().any(|trunk| trunk.knows(address))
    }

    /// Whether one of the members has something for the guest: it is in `frame`.
    pub(super) fn hear_members(&mut self, frame: &mut Frame) -> bool {
        let count = self.trunks.len();
        let mut is_busy = true;
        while mem::take(&mut is_busy) {
            for number in (0..count).map(|step| (self.first_heard + step) % count) {
                match self.trunks[number].next(frame) {
                    Heard::Packet => {
                        // The others come first next time.
                        self.first_heard = (number + 1) % count;
                        return true;
                    }
                    Heard::Busy => is_busy = true,
                    Heard::Nothing => {}
                }
            }
        }
        false
    }

    /// The answer to a question about members: by their names, or by their addresses.
    pub(in crate::net) fn answer_of_members(
        &self,
        question: &Question,
        query: &[u8],
    ) -> Option<Vec<u8>> {
        if self.trunks.is_empty() {
            return None;
        }
        if question.kind == TYPE_PTR {
            let address = reversed(&question.name)?;
            let trunk = self
                .trunks
                .iter()
                .find(|trunk| trunk.seat.subnets.holds(address))?;
            return Some(match trunk.name_of(address) {
                Some(name) => question.answer_name(query, name, LIFETIME),
                None => question.fail(query, Failure::NoSuchName),
            });
        }
        let named = |trunk| Trunk::named(trunk, &question.name);
        let members: Vec<&Member> = self.trunks.iter().flat_map(named).collect();
        if members.is_empty() {
            return None;
        }
        let address = |member: &&Member| match question.kind {
            TYPE_A => Some(IpAddr::V4(member.v4)),
            TYPE_AAAA => Some(IpAddr::V6(member.v6)),
            _ => None,
        };
        let addresses: Vec<_> = members
            .iter()
            .filter_map(address)
            .take(MOST_ANSWERS)
            .collect();
        Some(question.answer_own(query, addresses.iter(), LIFETIME))
    }
}
