//! Which addresses lead where: to the host itself, to private networks, to everybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks, as an address and the bits that count.
const NEVER_V4: [(Ipv4Addr, u32); 8] = [
    // "This host": Linux takes it for the loopback (RFC 1122, 3.2.1.3).
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    // Loopback.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local (RFC 3927), with the metadata services of most clouds.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // Metadata services with addresses of their own: Azure's, Alibaba's, Oracle's.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(100, 100, 100, 200), 32),
    (Ipv4Addr::new(192, 0, 0, 192), 32),
    // Multicast, and what is reserved, with everybody's broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

const NEVER_V6: [(Ipv6Addr, u32); 6] = [
    // Unspecified, loopback, and addresses of IPv4 in an old form.
    (Ipv6Addr::UNSPECIFIED, 96),
    // Addresses of IPv4, which no packet carries (RFC 4291, 2.5.5.2); a socket would take them.
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    // Link-local, and multicast.
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    // Metadata services: Amazon's, Google's.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
];

/// Networks that are nobody's in public (RFC 1918, RFC 6598, RFC 2544, RFC 6890; RFC 4193).
const PRIVATE_V4: [(Ipv4Addr, u32); 6] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
];

/// Whether `address` leads to the host itself, or to its cloud's keys.
pub fn is_never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => NEVER_V4.iter().any(|network| holds_v4(network, address)),
        IpAddr::V6(address) => {
            NEVER_V6.iter().any(|network| holds_v6(network, address))
                || embedded(address).is_some_and(|address| is_never(address.into()))
        }
    }
}

/// What is not for everybody: in IPv6 all that is not global unicast (2000::/3, RFC 4291).
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => PRIVATE_V4.iter().any(|network| holds_v4(network, address)),
        IpAddr::V6(address) => {
            address.segments()[0] >> 13 != 1
                || embedded(address).is_some_and(|address| is_private(address.into()))
        }
    }
}

/// The address of IPv4 to which a translator of the host's network would send this: 64:ff9b::/96 (RFC 6052),
/// and 2002::/16 (RFC 3056).
pub fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let at = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => 12,
        [0x2002, ..] => 2,
        _ => return None,
    };
    let bytes: [u8; 4] = octets[at..at + 4].try_into().ok()?;
    Some(bytes.into())
}

fn holds_v4((network, bits): &(Ipv4Addr, u32), address: Ipv4Addr) -> bool {
    (u32::from(address) ^ u32::from(*network)).leading_zeros() >= *bits
}

fn holds_v6((network, bits): &(Ipv6Addr, u32), address: Ipv6Addr) -> bool {
    (u128::from(address) ^ u128::from(*network)).leading_zeros() >= *bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_networks_are_where_they_are_said_to_be() {
        let is_private = |text: &str| is_private(text.parse().unwrap());
        for text in [
            "172.16.0.0",
            "172.31.255.255",
            "100.127.255.255",
            "198.19.0.1",
            "fc00::",
        ] {
            assert!(is_private(text), "{text}");
        }
        for text in [
            "172.15.255.255",
            "172.32.0.0",
            "100.128.0.0",
            "198.20.0.0",
            "2000::",
        ] {
            assert!(!is_private(text), "{text}");
        }
        assert!(is_private("64:ff9b::a01:203") && is_private("2002:a00:1::1"));
        assert!(!is_private("2002:101:101::1"));
    }
}
