//! What a workload sees of the world, and the world of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::host_link::is_host_link;
use super::units::parse_size;

/// Which network a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// None: no device, nothing but its own loopback.
    None,
    /// One of its own, whose far end are sockets of the process that runs it.
    #[default]
    User,
    /// A place on one of the host's, as typed: [`HostLink`].
    #[serde(untagged)]
    Host(String),
}

/// What carries the bytes of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Streams.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port of the host's that leads to one of the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Where the host listens; port 0 is one of the host's choosing.
    pub host: SocketAddr,
    /// The machine's port.
    pub guest: u16,
    /// What carries it.
    pub transport: Transport,
}

/// How much a machine may use of the world; as much as there is where nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetLimits {
    /// Conversations at once, whoever began them.
    pub connections: Option<usize>,
    /// Bytes a second, each way.
    pub rate: Option<u64>,
    /// Bytes in all, both ways together.
    pub bytes: Option<u64>,
}

/// Most ports of one machine.
pub const MOST_PUBLISHED: usize = 256;

/// `--network`: `none`, `user`, or a place on a network of the host's, which is looked into later. Nothing for what is the
/// name of a network of machines.
pub fn parse_network(text: &str) -> Option<Network> {
    match text {
        "none" => Some(Network::None),
        "user" => Some(Network::User),
        text => is_host_link(text).then(|| Network::Host(text.to_owned())),
    }
}

/// As it is typed.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::User => "user",
            Self::Host(text) => text,
        })
    }
}

/// `[IP:][HOST:]GUEST[/tcp|udp]`, where HOST and GUEST may be ranges of one length; without IP only this host's own
/// programs get in, and without HOST it is a port of the host's choosing.
pub fn parse_publish(text: &str) -> Result<Vec<Published>, String> {
    let wrong = |why: &str| format!("--publish `{text}`: {why}, like 8080:80 or 0.0.0.0:53:53/udp");
    let (ports, transport) = match text.rsplit_once('/') {
        None => (text, Transport::Tcp),
        Some((ports, "tcp")) => (ports, Transport::Tcp),
        Some((ports, "udp")) => (ports, Transport::Udp),
        Some(_) => return Err(wrong("behind the slash is tcp or udp")),
    };
    let (rest, guest) = match ports.rsplit_once(':') {
        Some((rest, guest)) => (Some(rest), guest),
        None => (None, ports),
    };
    let rest = rest.unwrap_or_default();
    let (address, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let ip = match address.trim_start_matches('[').trim_end_matches(']') {
        "" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        address => address
            .parse()
            .map_err(|_| wrong("the host's address is no IP address"))?,
    };
    let numbers = |text| parse_range(text).ok_or_else(|| wrong("write ports from 1 to 65535"));
    let guests = numbers(guest)?;
    let hosts = match host {
        "" => vec![0; guests.len()],
        host => numbers(host)?,
    };
    if hosts.len() != guests.len() {
        return Err(wrong("both ranges must have the same length"));
    }
    let both = hosts.into_iter().zip(guests);
    let published = both.map(|(host, guest)| Published {
        host: SocketAddr::new(ip, host),
        guest,
        transport,
    });
    Ok(published.collect())
}

/// A port that an image exposes, `PORT[-PORT][/tcp|udp]`, as `--publish-all` has it: for this host's own programs, by
/// ports of the host's choosing. What is no such port is an image's own affair.
pub fn parse_exposed(text: &str) -> Vec<Published> {
    let only = text.split('/').next().unwrap_or_default();
    match only.contains(':') {
        true => Vec::new(),
        false => parse_publish(text).unwrap_or_default(),
    }
}

/// `--net-connections`: a number.
pub fn parse_connections(text: &str) -> Result<usize, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let count = text.parse().ok().filter(|count| *count > 0 && is_plain);
    count.ok_or_else(|| format!("--net-connections `{text}`: write a number, like 100"))
}

/// `--net-rate`: a size, with or without `/s`.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let size = parse_size(text.strip_suffix("/s").unwrap_or(text)).ok();
    let rate = size.filter(|rate| *rate > 0);
    rate.ok_or_else(|| format!("--net-rate `{text}`: write bytes a second, like 500k or 10m"))
}

/// `--net-bytes`: a size.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let size = parse_size(text).map_err(|problem| format!("--net-bytes: {problem}"))?;
    match size {
        0 => Err("--net-bytes 0: for no network at all write --network none".to_owned()),
        size => Ok(size),
    }
}

/// `N` or `N-M`.
fn parse_range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0 && is_plain)
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then(|| (first..=last).collect())
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_this_hosts_own_programs_unless_an_address_is_given() {
        let table = [
            ("8080:80", "127.0.0.1:8080 80 tcp"),
            ("80", "127.0.0.1:0 80 tcp"),
            ("0.0.0.0:53:53/udp", "0.0.0.0:53 53 udp"),
            ("10.1.2.3::80/tcp", "10.1.2.3:0 80 tcp"),
            ("[::1]:8080:80", "[::1]:8080 80 tcp"),
            ("::1:8080:80", "[::1]:8080 80 tcp"),
            (
                "8000-8001:80-81",
                "127.0.0.1:8000 80 tcp, 127.0.0.1:8001 81 tcp",
            ),
        ];
        for (text, expected) in table {
            let published = parse_publish(text).unwrap();
            let shown: Vec<_> = published
                .iter()
                .map(|one| format!("{} {} {}", one.host, one.guest, one.transport))
                .collect();
            assert_eq!(shown.join(", "), expected, "{text}");
        }
    }

    #[test]
    fn limits_are_sizes_and_numbers_that_leave_something() {
        assert_eq!(parse_connections("100"), Ok(100));
        assert_eq!(
            (parse_rate("10m"), parse_rate("1k/s")),
            (Ok(10 << 20), Ok(1024))
        );
        assert_eq!(parse_bytes("2g"), Ok(2 << 30));
        for text in ["0", "", "-1", "+1", "x", "1.5"] {
            assert!(
                parse_connections(text)
                    .unwrap_err()
                    .starts_with("--net-connections")
            );
            assert!(parse_rate(text).unwrap_err().starts_with("--net-rate"));
            assert!(parse_bytes(text).unwrap_err().starts_with("--net-bytes"));
        }
    }

    #[test]
    fn exposed_ports_are_published_where_the_host_likes() {
        for (text, count) in [
            ("80/tcp", 1),
            ("53/udp", 1),
            ("8000-8002", 3),
            ("80/sctp", 0),
            ("0.0.0.0:80:80", 0),
            ("$PORT", 0),
        ] {
            let published = parse_exposed(text);
            assert_eq!(published.len(), count, "{text}");
            let own = |one: &Published| one.host.port() == 0 && one.host.ip().is_loopback();
            assert!(published.iter().all(own), "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_one_line() {
        for text in [
            "",
            ":",
            "0:80",
            "80:0",
            "80:",
            "65536:80",
            "a:80",
            "80/sctp",
            "host:80:80",
            "1-2:3",
            "3-1:3-1",
            "80:+80",
            "1:2:3:4",
        ] {
            let problem = parse_publish(text).unwrap_err();
            assert!(problem.starts_with("--publish `"), "{problem}");
            assert!(
                problem.ends_with(", like 8080:80 or 0.0.0.0:53:53/udp"),
                "{problem}"
            );
        }
    }
}
