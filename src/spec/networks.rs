//! Networks on which machines reach one another: their names, their addresses, and a machine's place on them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Most networks of one machine.
pub const MOST_NETWORKS: usize = 16;

/// Most names that a machine has on a network besides its own.
pub const MOST_ALIASES: usize = 32;

/// What says which network a machine has, and so is no name of one: ours, and docker's.
const RESERVED: [&str; 5] = ["none", "user", "host", "bridge", "default"];

/// Longest name that is resolved (RFC 1035, 2.3.4), and longest part of one.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// Bits of the network's part of an IPv6 address (RFC 4291, 2.5.4).
pub const PREFIX_V6: u8 = 64;

/// Bits of the network's part of an IPv4 address: from the largest network to the smallest that has room for two machines.
const LEAST_BITS: u8 = 8;
const MOST_BITS: u8 = 29;

/// Docker's rule for names, without those that mean something else.
pub fn check_network_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if RESERVED.contains(&name) {
        return Err(format!(
            "network name `{name}`: the word means a network of another kind; choose another name"
        ));
    }
    if (1..=128).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(legal)
    {
        return Ok(());
    }
    Err(format!(
        "network name `{name}`: write letters, digits, _ . and -, beginning with a letter or digit"
    ))
}

/// A name by which a machine is found on its networks.
pub fn check_alias(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let label = |part: &str| {
        (1..=LONGEST_LABEL).contains(&part.len())
            && part.chars().all(legal)
            && !part.starts_with('-')
    };
    if name.len() <= LONGEST_NAME && name.split('.').all(label) {
        return Ok(());
    }
    Err(format!(
        "--network-alias `{name}`: write letters, digits, -, _ and dots"
    ))
}

/// That a machine is to be on a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Joining {
    /// The network's name.
    pub network: String,
    /// Names of the machine's there, besides its own and the beginning of its ID.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Its address there, where somebody asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
}

/// The mistakes in what is asked of networks, a line each.
pub fn check_joinings(joinings: &[Joining]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for joining in joinings {
        problems.extend(check_network_name(&joining.network).err());
        if !seen.insert(&joining.network) {
            problems.push(format!("--network {} is there twice", joining.network));
        }
        let aliases = joining.aliases.iter();
        problems.extend(aliases.filter_map(|alias| check_alias(alias).err()));
        if joining.aliases.len() > MOST_ALIASES {
            problems.push(format!(
                "--network-alias: a machine has {MOST_ALIASES} at most"
            ));
        }
    }
    if joinings.len() > MOST_NETWORKS {
        problems.push(format!(
            "--network: a machine is on {MOST_NETWORKS} networks at most"
        ));
    }
    // An alias is on all networks, and is told once.
    problems.dedup();
    problems
}

/// The addresses of a network: some of IPv4 and, with the same numbers, some of IPv6. Number 1 is the gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnets {
    /// The first of IPv4.
    pub v4: Ipv4Addr,
    /// Bits of the network's part of it.
    pub bits: u8,
    /// The first of IPv6, of whose addresses [`PREFIX_V6`] bits are the network's.
    pub v6: Ipv6Addr,
}

impl Subnets {
    /// Whether `address` is of the network.
    pub fn holds(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                (u32::from(address) ^ u32::from(self.v4)).leading_zeros() >= u32::from(self.bits)
            }
            IpAddr::V6(address) => {
                (u128::from(address) ^ u128::from(self.v6)).leading_zeros() >= u32::from(PREFIX_V6)
            }
        }
    }

    /// Whether an address is of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let wider = self.bits.min(other.bits);
        (u32::from(self.v4) ^ u32::from(other.v4)).leading_zeros() >= u32::from(wider)
            || self.v6 == other.v6
    }

    /// The last number of IPv4, which means everybody.
    pub fn broadcast(&self) -> Ipv4Addr {
        (u32::from(self.v4) | self.last_number()).into()
    }

    fn last_number(&self) -> u32 {
        u32::MAX.checked_shr(self.bits.into()).unwrap_or(0)
    }

    /// The numbers that machines may have.
    pub fn numbers(&self) -> std::ops::Range<u32> {
        2..self.last_number()
    }

    /// The number of an address that a machine may have.
    pub fn number_of(&self, address: Ipv4Addr) -> Option<u32> {
        let number = u32::from(address) & self.last_number();
        (self.holds(address.into()) && self.numbers().contains(&number)).then_some(number)
    }

    /// The addresses with a number.
    pub fn address(&self, number: u32) -> (Ipv4Addr, Ipv6Addr) {
        (
            (u32::from(self.v4) | number).into(),
            (u128::from(self.v6) | u128::from(number)).into(),
        )
    }

    /// The network's own end.
    pub fn gateway(&self) -> (Ipv4Addr, Ipv6Addr) {
        self.address(1)
    }
}

/// `ADDRESS/BITS`, IPv4 or IPv6, as `--subnet` has it.
pub fn parse_subnet(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = |why: &str| format!("--subnet `{text}`: {why}, like 10.5.0.0/24 or fd12:3456::/64");
    let (address, bits) = text
        .split_once('/')
        .ok_or_else(|| wrong("write an address and the bits of its network"))?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| wrong("that is no address of IPv4 or IPv6"))?;
    let is_plain = bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits: u8 = bits
        .parse()
        .ok()
        .filter(|_| is_plain)
        .ok_or_else(|| wrong("the bits are no number"))?;
    match address {
        IpAddr::V4(v4) => {
            if !(LEAST_BITS..=MOST_BITS).contains(&bits) {
                return Err(wrong("a network of IPv4 has 8 to 29 bits"));
            }
            let host = u32::from(v4) & (u32::MAX >> bits);
            if host != 0 {
                let first = Ipv4Addr::from(u32::from(v4) - host);
                return Err(wrong(&format!("the network begins at {first}")));
            }
            let first = v4.octets()[0];
            if v4.is_loopback() || v4.is_link_local() || first == 0 || first >= 224 {
                return Err(wrong(
                    "no machine may have these addresses; take private ones",
                ));
            }
        }
        IpAddr::V6(v6) => {
            if bits != PREFIX_V6 {
                return Err(wrong("a network of IPv6 has 64 bits"));
            }
            if u128::from(v6) << PREFIX_V6 != 0 {
                return Err(wrong("the network's address ends with zeros"));
            }
            if v6.segments()[0] & 0xfe00 != 0xfc00 && v6.segments()[0] >> 13 != 1 {
                return Err(wrong(
                    "no machine may have these addresses; take private ones",
                ));
            }
        }
    }
    Ok((address, bits))
}

/// A machine's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The network's name; none is of the network that each machine has alone.
    pub network: String,
    /// The network's ID.
    pub id: String,
    /// All addresses there.
    pub subnets: Subnets,
    /// The machine's.
    pub v4: Ipv4Addr,
    /// The same in IPv6.
    pub v6: Ipv6Addr,
    /// Whether the network has no way to the world outside.
    pub internal: bool,
    /// The names of the machine's there that somebody asked for.
    pub aliases: Vec<String>,
}

impl Seat {
    /// Whether `address` is the machine's.
    pub fn is_own(&self, address: IpAddr) -> bool {
        address == self.v4 || address == self.v6
    }

    /// Whether `address` is the network's own end.
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        let (v4, v6) = self.subnets.gateway();
        address == v4 || address == v6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnets(text: &str) -> Subnets {
        let Ok((IpAddr::V4(v4), bits)) = parse_subnet(text) else {
            panic!("{text}");
        };
        Subnets {
            v4,
            bits,
            v6: Ipv6Addr::new(0xfd00, 1, 2, 3, 0, 0, 0, 0),
        }
    }

    #[test]
    fn numbers_are_addresses_in_both_versions() {
        let small = subnets("10.5.0.8/29");
        assert_eq!(small.numbers(), 2..7);
        let (v4, v6) = small.address(6);
        assert_eq!(
            (v4.to_string(), v6.to_string()),
            ("10.5.0.14".into(), "fd00:1:2:3::6".into())
        );
        assert_eq!(small.number_of(v4), Some(6));
        for other in [
            "10.5.0.8",
            "10.5.0.9",
            "10.5.0.15",
            "10.5.0.16",
            "10.5.1.10",
        ] {
            assert_eq!(small.number_of(other.parse().unwrap()), None, "{other}");
        }
        assert_eq!(small.broadcast().to_string(), "10.5.0.15");
        assert!(small.holds(v6.into()) && small.holds("10.5.0.15".parse().unwrap()));
        assert!(!small.holds("10.5.0.7".parse().unwrap()));
        assert!(!small.holds("fd00:1:2:4::6".parse().unwrap()));
    }

    #[test]
    fn overlaps_are_seen_from_both_sides() {
        let v6 = |last| Ipv6Addr::new(0xfd00, 0, 0, last, 0, 0, 0, 0);
        let wide = Subnets {
            v6: v6(1),
            ..subnets("10.5.0.0/16")
        };
        let narrow = Subnets {
            v6: v6(2),
            ..subnets("10.5.9.0/24")
        };
        let other = Subnets {
            v6: v6(3),
            ..subnets("10.6.9.0/24")
        };
        assert!(wide.overlaps(&narrow) && narrow.overlaps(&wide));
        assert!(!wide.overlaps(&other) && !narrow.overlaps(&other));
        assert!(Subnets { v6: v6(1), ..other }.overlaps(&wide));
    }

    #[test]
    fn what_is_no_network_is_one_line() {
        for (text, says) in [
            ("", "bits of its network"),
            ("10.5.0.0", "bits of its network"),
            ("10.5.0/24", "no address"),
            ("10.5.0.0/30", "8 to 29"),
            ("10.0.0.0/7", "8 to 29"),
            ("10.5.0.0/+9", "no number"),
            ("10.5.0.1/24", "begins at 10.5.0.0"),
            ("127.0.0.0/8", "no machine"),
            ("169.254.0.0/16", "no machine"),
            ("224.0.0.0/8", "no machine"),
            ("fd00::/48", "has 64 bits"),
            ("fd00::1/64", "ends with zeros"),
            ("fe80::/64", "no machine"),
        ] {
            let problem = parse_subnet(text).unwrap_err();
            assert!(
                problem.starts_with("--subnet `") && problem.contains(says),
                "{problem}"
            );
        }
        assert!(parse_subnet("fd12:3456::/64").is_ok());
    }

    #[test]
    fn names_of_networks_and_machines_are_checked() {
        for good in ["a", "back-end", "1.x_y"] {
            assert_eq!(check_network_name(good), Ok(()));
        }
        for bad in ["", "-a", "a/b", "none", "user", "host", "a b", "..", "é"] {
            assert!(
                check_network_name(bad)
                    .unwrap_err()
                    .starts_with("network name"),
                "{bad}"
            );
        }
        for bad in ["", "a..b", "-a", "a b", ".a", &"a".repeat(64)] {
            assert!(
                check_alias(bad).unwrap_err().starts_with("--network-alias"),
                "{bad}"
            );
        }
        let joining = |network: &str| Joining {
            network: network.to_owned(),
            aliases: vec!["db".to_owned()],
            ip: None,
        };
        assert!(check_joinings(&[joining("a"), joining("b")]).is_empty());
        assert_eq!(
            check_joinings(&[joining("a"), joining("a")]),
            ["--network a is there twice"]
        );
    }
}
