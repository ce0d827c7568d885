//! Who is who on a guest's cable. The same for every guest: no two of them share one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::wire::Mac;

/// The network's end: what the guest sends everything to, and where names are resolved. Four addresses of
/// a private range (RFC 1918) are all that is taken from the guest's view of the host's networks.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 117, 107, 1);
/// The guest.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(10, 117, 107, 2);
/// Bits of the network's part of an address.
pub const PREFIX_V4: u8 = 30;

/// The same in IPv6: a unique local range (RFC 4193), so that a guest prefers IPv4 where it has a choice
/// (RFC 6724, 2.1), which every host has.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd68, 0x7573, 0x6b00, 0, 0, 0, 0, 1);
/// The guest.
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd68, 0x7573, 0x6b00, 0, 0, 0, 0, 2);
/// Bits of the network's part of an address.
pub const PREFIX_V6: u8 = 64;

/// Ethernet addresses, locally administered: `jhusk` and a number.
pub const GATEWAY_MAC: Mac = [0x6a, b'h', b'u', b's', b'k', 1];
/// The guest's.
pub const GUEST_MAC: Mac = [0x6a, b'h', b'u', b's', b'k', 2];

/// Where names are resolved (RFC 1035, 4.2).
pub const DNS_PORT: u16 = 53;

/// Whether `address` is the network's own.
pub fn is_gateway(address: IpAddr) -> bool {
    address == GATEWAY_V4 || address == GATEWAY_V6
}

/// Whether `address` is the guest's.
pub fn is_guest(address: IpAddr) -> bool {
    address == GUEST_V4 || address == GUEST_V6
}

/// The network's own address of the version that `address` is of.
pub fn gateway_for(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => GATEWAY_V4.into(),
        IpAddr::V6(_) => GATEWAY_V6.into(),
    }
}
