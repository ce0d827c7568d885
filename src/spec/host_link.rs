//! A machine with a place on a network of the host's: behind a TAP interface that is there, or behind one that is
//! made for it on a bridge.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most bytes of an interface's name (IFNAMSIZ, with its end).
const MOST_NAME: usize = 15;

/// The longest packets that an interface may be set to, bytes: IPv4 asks for 68 (RFC 791), and no packet is longer
/// than its length can say.
const MTUS: std::ops::RangeInclusive<u16> = 68..=u16::MAX;

/// Most queues either way of one card.
pub const MOST_QUEUES: u16 = 8;

/// Most resolvers (MAXNS of resolv.conf(5)).
const MOST_RESOLVERS: usize = 3;

/// Where the machine's cable ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEnd {
    /// At the TAP interface of this name, which is there already.
    Tap(String),
    /// At the bridge of this name, by a TAP interface that lasts as long as the machine.
    Bridge(String),
}

/// `--network tap=…` or `bridge=…`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLink {
    /// Where its cable ends.
    pub end: HostEnd,
    /// The card's address; one of husk's choosing where nobody says.
    pub mac: Option<[u8; 6]>,
    /// The longest packet; the interface's own where nobody says.
    pub mtu: Option<u16>,
    /// The machine's place, in IPv4.
    pub v4: Option<HostPlace>,
    /// In IPv6.
    pub v6: Option<HostPlace>,
    /// Who resolves names for it; the host's own resolvers where nobody says.
    pub resolvers: Vec<IpAddr>,
    /// Whether the host's kernel moves the frames (vhost-net); where it can, if nobody says.
    pub vhost: Option<bool>,
    /// How many queues the card has either way; as [`HostLink::queues_for`] says, if nobody does.
    pub queues: Option<u16>,
}

/// An address on a network, and the way to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPlace {
    /// The machine's address.
    pub own: IpAddr,
    /// Bits of the network's part.
    pub prefix: u8,
    /// Who takes what is for others, if anybody does: of the same network.
    pub gateway: Option<IpAddr>,
}

/// Whether `text` begins as one does.
pub fn is_host_link(text: &str) -> bool {
    text.starts_with("tap=") || text.starts_with("bridge=")
}

impl HostLink {
    /// `tap=NAME` or `bridge=NAME`, and behind it `,ip=ADDRESS/BITS`, `,gw=ADDRESS`, `,dns=ADDRESS`, `,mac=…`,
    /// `,mtu=…`, `,queues=N` and `,vhost=on` or `off`, in any order; `ip` and `gw` once for IPv4 and once for IPv6.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: String| {
            format!("--network `{text}`: {why}, like tap=vm0,ip=10.0.0.2/24,gw=10.0.0.1")
        };
        Self::read(text).map_err(wrong)
    }

    /// How many queues the card of a machine with so many CPUs has either way: one for each CPU, where nobody says.
    pub fn queues_for(&self, cpus: u32) -> u16 {
        let each = u16::try_from(cpus).unwrap_or(MOST_QUEUES);
        self.queues.unwrap_or(each.min(MOST_QUEUES)).max(1)
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let end = match words.next().unwrap_or_default().split_once('=') {
            Some(("tap", name)) => HostEnd::Tap(check_name(name)?),
            Some(("bridge", name)) => HostEnd::Bridge(check_name(name)?),
            _ => return Err("begin with tap=NAME or bridge=NAME".to_owned()),
        };
        let mut link = Self {
            end,
            mac: None,
            mtu: None,
            v4: None,
            v6: None,
            resolvers: Vec::new(),
            vhost: None,
            queues: None,
        };
        let mut gateways = Vec::new();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "ip" => link.place(value)?,
                "gw" => gateways.push(parse_address(key, value)?),
                "dns" => link.resolvers.push(parse_address(key, value)?),
                "mac" => once(key, &mut link.mac, parse_mac(value)?)?,
                "mtu" => once(key, &mut link.mtu, parse_mtu(value)?)?,
                "vhost" => once(key, &mut link.vhost, parse_switch(key, value)?)?,
                "queues" => once(key, &mut link.queues, parse_queues(value)?)?,
                _ => {
                    return Err(format!(
                        "`{key}` is none of ip, gw, dns, mac, mtu, queues and vhost"
                    ));
                }
            }
        }
        for gateway in gateways {
            link.lead(gateway)?;
        }
        if link.resolvers.len() > MOST_RESOLVERS {
            return Err(format!("write dns {MOST_RESOLVERS} times at most"));
        }
        Ok(link)
    }

    fn place(&mut self, value: &str) -> Result<(), String> {
        let wrong = || format!("`ip={value}` is no address with the bits of its network");
        let (own, prefix) = value.split_once('/').ok_or_else(wrong)?;
        let own: IpAddr = own.parse().map_err(|_| wrong())?;
        let most = if own.is_ipv4() { 32 } else { 128 };
        let prefix = number(prefix).filter(|bits| (1..=most).contains(bits));
        let place = HostPlace {
            own,
            prefix: prefix.ok_or_else(wrong)?,
            gateway: None,
        };
        if own.is_unspecified() || own.is_multicast() || own.is_loopback() {
            return Err(format!("`ip={value}` is no address of one machine's"));
        }
        let slot = match own {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        };
        once("ip", slot, place)
    }

    fn lead(&mut self, gateway: IpAddr) -> Result<(), String> {
        let slot = match gateway {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        };
        let Some(place) = slot else {
            return Err(format!("`gw={gateway}` needs an ip of its version"));
        };
        if !place.is_near(gateway) || gateway == place.own {
            return Err(format!(
                "`gw={gateway}` is no other machine of the network of {}/{}",
                place.own, place.prefix
            ));
        }
        once("gw", &mut place.gateway, gateway)
    }
}

impl HostPlace {
    /// The network's own address, of which the machine's is a part.
    pub fn network(&self) -> IpAddr {
        match self.own {
            IpAddr::V4(own) => {
                let rest = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                Ipv4Addr::from_bits(own.to_bits() & !rest).into()
            }
            IpAddr::V6(own) => {
                let rest = u128::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                Ipv6Addr::from_bits(own.to_bits() & !rest).into()
            }
        }
    }

    /// Whether `other` is reached without a gateway; in IPv6 every link-local address is.
    fn is_near(&self, other: IpAddr) -> bool {
        let bits = |address| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let is_local = matches!(other, IpAddr::V6(v6) if v6.is_unicast_link_local());
        is_local || (bits(self.own) ^ bits(other)).leading_zeros() >= u32::from(self.prefix)
    }
}

/// As it is typed.
impl fmt::Display for HostEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tap(name) => write!(f, "tap={name}"),
            Self::Bridge(name) => write!(f, "bridge={name}"),
        }
    }
}

/// A name that an interface may have (the kernel's dev_valid_name, and of that what needs no quotes anywhere).
fn check_name(name: &str) -> Result<String, String> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let is_name = (1..=MOST_NAME).contains(&name.len()) && !name.starts_with(['.', '-']);
    match is_name && name.chars().all(is_legal) {
        true => Ok(name.to_owned()),
        false => Err(format!("`{name}` is no name of an interface")),
    }
}

fn parse_address(key: &str, value: &str) -> Result<IpAddr, String> {
    let address: Option<IpAddr> = value.parse().ok();
    let address = address.filter(|address| !address.is_unspecified() && !address.is_multicast());
    address.ok_or_else(|| format!("`{key}={value}` is no IP address of a machine"))
}

/// Six bytes, two hexadecimal digits each; one card's, not a group's (IEEE 802).
fn parse_mac(value: &str) -> Result<[u8; 6], String> {
    let byte = |part: &str| {
        let is_plain = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        u8::from_str_radix(part, 16).ok().filter(|_| is_plain)
    };
    let bytes: Option<Vec<_>> = value.split(':').map(byte).collect();
    let mac = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    let mac = mac.filter(|mac| mac[0] & 1 == 0 && *mac != [0; 6]);
    mac.ok_or_else(|| format!("`mac={value}` is no card's address such as 02:00:00:00:00:01"))
}

fn parse_mtu(value: &str) -> Result<u16, String> {
    let mtu = number(value).filter(|mtu| MTUS.contains(mtu));
    mtu.ok_or_else(|| {
        format!(
            "`mtu={value}` is not from {} to {}",
            MTUS.start(),
            MTUS.end()
        )
    })
}

fn parse_queues(value: &str) -> Result<u16, String> {
    let queues = number(value).filter(|queues| (1..=MOST_QUEUES).contains(queues));
    queues.ok_or_else(|| format!("`queues={value}` is not from 1 to {MOST_QUEUES}"))
}

fn parse_switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("`{key}={value}` is neither on nor off")),
    }
}

/// Digits alone.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

fn once<T>(key: &str, slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("`{key}` is there twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_on_the_hosts_network_is_taken_apart() {
        let text = "tap=vm0,ip=10.0.0.2/24,gw=10.0.0.1,ip=fd00::2/64,gw=fe80::1,mac=02:00:00:00:00:0a,mtu=9000,dns=1.1.1.1";
        let link = HostLink::parse(text).unwrap();
        assert_eq!(link.end, HostEnd::Tap("vm0".to_owned()));
        let v4 = HostPlace {
            own: "10.0.0.2".parse().unwrap(),
            prefix: 24,
            gateway: Some("10.0.0.1".parse().unwrap()),
        };
        assert_eq!(link.v4, Some(v4));
        let v6 = link.v6.unwrap();
        assert_eq!((v6.prefix, v6.gateway), (64, "fe80::1".parse().ok()));
        assert_eq!(
            (link.mac, link.mtu),
            (Some([2, 0, 0, 0, 0, 10]), Some(9000))
        );
        assert_eq!(link.resolvers, ["1.1.1.1".parse::<IpAddr>().unwrap()]);
        let bare = HostLink::parse("bridge=br-1.2").unwrap();
        assert_eq!(bare.end.to_string(), "bridge=br-1.2");
        assert_eq!((bare.v4, bare.v6, bare.mac), (None, None, None));
        assert_eq!(bare.vhost, None);
        let asked = ["on", "off"].map(|word| HostLink::parse(&format!("tap=vm0,vhost={word}")));
        assert_eq!(
            asked.map(|link| link.unwrap().vhost),
            [Some(true), Some(false)]
        );
        // A queue for each CPU, within bounds.
        assert_eq!([1, 3, 200].map(|cpus| bare.queues_for(cpus)), [1, 3, 8]);
        let asked = HostLink::parse("tap=vm0,queues=2").unwrap();
        assert_eq!([1, 4].map(|cpus| asked.queues_for(cpus)), [2, 2]);
        // The order is anybody's.
        let turned = HostLink::parse("tap=vm0,gw=10.0.0.1,ip=10.0.0.2/24").unwrap();
        assert_eq!(turned.v4, Some(v4));
    }

    #[test]
    fn what_is_no_place_is_one_line() {
        for (text, word) in [
            ("tap=", "no name"),
            ("tap=a/b", "no name"),
            ("tap=vm%d", "no name"),
            ("tap=0123456789abcdef", "no name"),
            ("vm0", "begin with"),
            ("tap=vm0,ip=10.0.0.2", "ip=10.0.0.2"),
            ("tap=vm0,ip=10.0.0.2/33", "ip="),
            ("tap=vm0,ip=10.0.0.2/+8", "ip="),
            ("tap=vm0,ip=127.0.0.1/8", "ip="),
            ("tap=vm0,ip=10.0.0.2/24,ip=10.0.0.3/24", "twice"),
            ("tap=vm0,gw=10.0.0.1", "needs an ip"),
            ("tap=vm0,ip=10.0.0.2/24,gw=10.0.1.1", "no other machine"),
            ("tap=vm0,ip=10.0.0.2/24,gw=10.0.0.2", "no other machine"),
            ("tap=vm0,ip=fd00::2/64,gw=10.0.0.1", "needs an ip"),
            ("tap=vm0,mac=01:00:00:00:00:00", "mac="),
            ("tap=vm0,mac=2:0:0:0:0:1", "mac="),
            ("tap=vm0,mtu=67", "mtu="),
            ("tap=vm0,mtu=65536", "mtu="),
            ("tap=vm0,dns=nowhere", "dns="),
            (
                "tap=vm0,dns=9.9.9.9,dns=9.9.9.9,dns=9.9.9.9,dns=9.9.9.9",
                "dns",
            ),
            ("tap=vm0,speed=1", "`speed`"),
            ("tap=vm0,vhost=1", "neither on nor off"),
            ("tap=vm0,vhost=on,vhost=off", "twice"),
            ("tap=vm0,queues=0", "queues="),
            ("tap=vm0,queues=9", "from 1 to 8"),
            ("tap=vm0,queues=", "queues="),
            ("tap=vm0,", "none of"),
        ] {
            let problem = HostLink::parse(text).unwrap_err();
            assert!(problem.starts_with("--network `"), "{problem}");
            assert!(problem.contains(word), "{text}: {problem}");
            assert!(!problem.contains('\n'), "{problem}");
        }
    }
}
