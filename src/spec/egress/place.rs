//! Where a rule applies: networks and names.

use std::fmt;
use std::net::IpAddr;

/// Where a rule applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Everywhere: all addresses, and all names.
    Everywhere,
    /// At all public addresses; all names.
    Public,
    /// At some addresses.
    Network(Cidr),
    /// At the addresses that some names have.
    Named(NamePattern),
}

/// A network: an address, and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u32,
}

/// A name of the DNS, or all names below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    /// In lower case, without a dot at its end.
    name: String,
    /// Whether those below it are meant, and not the name itself.
    is_below: bool,
}

/// Longest name, and longest label of one (RFC 1035, 2.3.4, less the dot at the end).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

impl Place {
    /// An address, a network, one of IPv6 in brackets, a name, `*.NAME`, `public` or `*`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err(
                "it says not where: write an address, a network, a name, public or *".to_owned(),
            ),
            "*" => Ok(Self::Everywhere),
            "public" => Ok(Self::Public),
            _ => match text.strip_prefix('[') {
                Some(inner) => Cidr::parse(inner.trim_end_matches(']'), true).map(Self::Network),
                None if is_of_v4(text) => Cidr::parse(text, false).map(Self::Network),
                None => NamePattern::parse(text).map(Self::Named),
            },
        }
    }
}

/// Whether it can only be meant as an address: no name ends with a number (RFC 3696, 2).
fn is_of_v4(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or_default();
    text.contains('/') || !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
}

impl Cidr {
    fn parse(text: &str, is_v6: bool) -> Result<Self, String> {
        let example = if is_v6 {
            "[2001:db8::/32]"
        } else {
            "10.0.0.0/8"
        };
        let wrong = || format!("`{text}` is no address or network: write one like {example}");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        if address.is_ipv6() != is_v6 {
            return Err(wrong());
        }
        let most = width(address);
        let bits = match bits {
            None => most,
            Some(bits) if !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let bits = bits.parse().ok().filter(|bits| *bits <= most);
                bits.ok_or_else(|| format!("an address has {most} bits: write /0 to /{most}"))?
            }
            Some(_) => return Err(wrong()),
        };
        let network = Self {
            address: first_of(address, bits),
            bits,
        };
        if network.address != address {
            return Err(format!(
                "{address} has bits set behind the first {bits}: write {network}"
            ));
        }
        Ok(network)
    }

    /// Whether `address` is one of its addresses.
    pub fn holds(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && first_of(address, self.bits) == self.address
    }

    /// Whether all of it is what no rule allows.
    pub(super) fn is_of_a_host(&self) -> bool {
        match self.address {
            IpAddr::V4(address) => {
                address.is_loopback() && self.bits >= 8
                    || address.is_link_local() && self.bits >= 16
                    || address.is_multicast() && self.bits >= 4
            }
            IpAddr::V6(address) => {
                address.is_loopback() && self.bits == 128
                    || address.is_unicast_link_local() && self.bits >= 10
                    || address.is_multicast() && self.bits >= 8
            }
        }
    }
}

/// How many bits an address has.
fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first address of the network of `bits` bits in which `address` is.
fn first_of(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

impl NamePattern {
    fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let (name, is_below) = match lower.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_label = |label: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            (1..=LONGEST_LABEL).contains(&label.len()) && label.chars().all(legal)
        };
        match name.len() <= LONGEST_NAME && name.split('.').all(is_label) {
            true => Ok(Self {
                name: name.to_owned(),
                is_below,
            }),
            false => Err(format!(
                "`{text}` is no name: write one like example.com, or *.example.com for all below it"
            )),
        }
    }

    /// Whether `name`, in lower case and without a dot at its end, is one of those.
    pub fn matches(&self, name: &str) -> bool {
        match self.is_below {
            false => name == self.name,
            true => name
                .strip_suffix(self.name.as_str())
                .is_some_and(|above| above.len() > 1 && above.ends_with('.')),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match self.bits == width(self.address) {
            true => Ok(()),
            false => write!(f, "/{}", self.bits),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.is_below { "*." } else { "" };
        write!(f, "{below}{}", self.name)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("*"),
            Self::Public => f.write_str("public"),
            Self::Network(network) if network.address.is_ipv6() => write!(f, "[{network}]"),
            Self::Network(network) => network.fmt(f),
            Self::Named(pattern) => pattern.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_end_where_their_bits_say() {
        let table = [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0/31", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("[2001:db8::/33]", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("[::/0]", "ffff::", "0.0.0.0"),
            ("[::/0]", "::ffff:10.0.0.1", "10.0.0.1"),
        ];
        for (text, inside, outside) in table {
            let Ok(Place::Network(network)) = Place::parse(text) else {
                panic!("{text}")
            };
            assert!(network.holds(inside.parse().unwrap()), "{text}");
            assert!(!network.holds(outside.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_star_stands_for_names_below_and_not_beside() {
        let pattern = NamePattern::parse("*.example.com").unwrap();
        for name in ["a.example.com", "a.b.example.com"] {
            assert!(pattern.matches(name), "{name}");
        }
        for name in [
            "example.com",
            ".example.com",
            "badexample.com",
            "example.com.evil",
            "",
        ] {
            assert!(!pattern.matches(name), "{name}");
        }
        let own = NamePattern::parse("example.com").unwrap();
        assert!(own.matches("example.com") && !own.matches("a.example.com"));
    }
}
