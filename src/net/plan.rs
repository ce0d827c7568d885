//! Who is who on a guest's cable. The same for every guest that is on no network: no two of them share one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::wire::Mac;
use crate::spec::{Seat, Subnets};

/// Four addresses of a private range (RFC 1918), which are all that is taken from the guest's view of the host's
/// networks, and the bits of the network's part. The first is the network's end: what the guest sends everything to, and
/// where names are resolved.
const NETWORK_V4: Ipv4Addr = Ipv4Addr::new(10, 117, 107, 0);
const PREFIX_V4: u8 = 30;
/// The guest.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(10, 117, 107, 2);

/// The same in IPv6: a unique local range (RFC 4193), so that a guest prefers IPv4 where it has a choice
/// (RFC 6724, 2.1), which every host has.
const NETWORK_V6: Ipv6Addr = Ipv6Addr::new(0xfd68, 0x7573, 0x6b00, 0, 0, 0, 0, 0);
/// The guest.
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd68, 0x7573, 0x6b00, 0, 0, 0, 0, 2);

/// The network's end, for tests.
#[cfg(test)]
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 117, 107, 1);
#[cfg(test)]
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd68, 0x7573, 0x6b00, 0, 0, 0, 0, 1);

/// Ethernet addresses, locally administered: `jhusk` and a number.
pub const GATEWAY_MAC: Mac = [0x6a, b'h', b'u', b's', b'k', 1];
/// The guest's.
pub const GUEST_MAC: Mac = [0x6a, b'h', b'u', b's', b'k', 2];

/// Where names are resolved (RFC 1035, 4.2).
pub const DNS_PORT: u16 = 53;

/// Who is who on one guest's cable: its places on networks, of which the first is where everything else goes to; or the one
/// place that each guest has that is on none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    seats: Vec<Seat>,
    /// Places that the guest had: it may still ask their gateways, as it was told when it began.
    left: Vec<Seat>,
}

impl Default for Plan {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Plan {
    /// That of a guest with these places.
    pub fn new(mut seats: Vec<Seat>) -> Self {
        if seats.is_empty() {
            seats.push(alone());
        }
        let left = Vec::new();
        Self { seats, left }
    }

    /// The guest has one more place.
    pub fn join(&mut self, seat: Seat) {
        self.left.retain(|left| left.network != seat.network);
        self.seats.push(seat);
    }

    /// It has no place on `network` any more.
    pub fn leave(&mut self, network: &str) {
        let (left, seats) = self
            .seats
            .drain(..)
            .partition(|seat| seat.network == network);
        self.seats = seats;
        self.left.extend::<Vec<_>>(left);
    }

    /// The places, the first one first.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Whether `address` is the network's own.
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        let mut all = self.seats.iter().chain(&self.left);
        all.any(|seat| seat.is_gateway(address))
    }

    /// Whether `address` is the guest's.
    pub fn is_guest(&self, address: IpAddr) -> bool {
        self.seats.iter().any(|seat| seat.is_own(address))
    }

    /// Whether `address` is somewhere on the cable.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.seats.iter().any(|seat| seat.subnets.holds(address))
    }

    /// The network's own address for who has the guest's address `own`.
    pub fn gateway_for(&self, own: IpAddr) -> IpAddr {
        let seat = self.seats.iter().find(|seat| seat.is_own(own));
        let (v4, v6) = seat.unwrap_or(self.first()).subnets.gateway();
        match own {
            IpAddr::V4(_) => v4.into(),
            IpAddr::V6(_) => v6.into(),
        }
    }

    /// The guest's first address.
    pub fn guest_v4(&self) -> Ipv4Addr {
        self.first().v4
    }

    /// The network's own there.
    pub fn gateway_v4(&self) -> Ipv4Addr {
        self.first().subnets.gateway().0
    }

    fn first(&self) -> &Seat {
        let mut all = self.seats.iter().chain(&self.left);
        all.next().expect("there is one from the beginning")
    }
}

/// The place of a guest that is on no network.
fn alone() -> Seat {
    Seat {
        network: String::new(),
        id: String::new(),
        subnets: Subnets {
            v4: NETWORK_V4,
            bits: PREFIX_V4,
            v6: NETWORK_V6,
        },
        v4: GUEST_V4,
        v6: GUEST_V6,
        internal: false,
        aliases: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_on_no_network_has_the_place_that_all_such_have() {
        let plan = Plan::default();
        assert!(plan.is_guest(GUEST_V4.into()) && plan.is_guest(GUEST_V6.into()));
        assert!(plan.is_gateway(GATEWAY_V4.into()) && plan.is_gateway(GATEWAY_V6.into()));
        assert!(!plan.is_guest(GATEWAY_V4.into()) && !plan.is_gateway(GUEST_V6.into()));
        assert_eq!((plan.guest_v4(), plan.gateway_v4()), (GUEST_V4, GATEWAY_V4));
        assert_eq!(plan.gateway_for(GUEST_V6.into()), IpAddr::V6(GATEWAY_V6));
    }

    #[test]
    fn places_come_and_go_and_gateways_stay() {
        let seat = |network: &str, number: u8| Seat {
            network: network.to_owned(),
            subnets: Subnets {
                v4: Ipv4Addr::new(10, 5, number, 0),
                bits: 24,
                v6: Ipv6Addr::new(0xfd00, 0, 0, number.into(), 0, 0, 0, 0),
            },
            v4: Ipv4Addr::new(10, 5, number, 2),
            ..alone()
        };
        let mut plan = Plan::new(vec![seat("a", 1)]);
        plan.join(seat("b", 2));
        assert!(plan.is_guest([10, 5, 2, 2].into()) && plan.is_guest([10, 5, 1, 2].into()));
        plan.leave("a");
        assert!(!plan.is_guest([10, 5, 1, 2].into()) && plan.is_gateway([10, 5, 1, 1].into()));
        assert_eq!(plan.guest_v4(), Ipv4Addr::new(10, 5, 2, 2));
        plan.leave("b");
        assert!(plan.seats().is_empty() && !plan.is_guest([10, 5, 2, 2].into()));
        plan.join(seat("b", 2));
        assert_eq!(plan.gateway_v4(), Ipv4Addr::new(10, 5, 2, 1));
    }
}
