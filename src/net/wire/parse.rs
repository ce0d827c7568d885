//! From bytes of the guest's to a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMP_LEN, IPV4_LEN, IPV6_LEN, Mac,
    PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, TCP_LEN, UDP_LEN,
};
use crate::net::link::ETHERNET_LEN;

/// An ARP request (RFC 826) for Ethernet and IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Who asks.
    pub mac: Mac,
    /// From which address.
    pub source: Ipv4Addr,
    /// For which address.
    pub target: Ipv4Addr,
}

/// An IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'f> {
    /// Who sent the frame.
    pub mac: Mac,
    /// Who sent the packet.
    pub source: IpAddr,
    /// To whom.
    pub target: IpAddr,
    /// All of it, from its header on.
    pub whole: &'f [u8],
    /// What it carries.
    pub body: Body<'f>,
}

/// What an IP packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'f> {
    /// A segment.
    Tcp(Tcp<'f>),
    /// A datagram.
    Udp {
        /// The port it comes from.
        source: u16,
        /// The port it goes to.
        target: u16,
        /// Its data.
        payload: &'f [u8],
    },
    /// A message of ICMP or ICMPv6, whichever goes with the address.
    Icmp {
        /// Its type.
        kind: u8,
        /// The rest of the header: identifier and sequence number of an echo.
        rest: [u8; 4],
        /// What follows.
        payload: &'f [u8],
    },
    /// Another protocol.
    Other,
}

/// A segment of TCP (RFC 9293, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tcp<'f> {
    /// The port it comes from.
    pub source: u16,
    /// The port it goes to.
    pub target: u16,
    /// Number of its first byte.
    pub seq: u32,
    /// Number of the byte that is expected next.
    pub ack: u32,
    /// `flag::…`.
    pub flags: u8,
    /// Window, as written.
    pub window: u16,
    /// Option 2: the largest segment that may be sent back.
    pub mss: Option<u16>,
    /// Option 3 (RFC 7323, 2.2): how far windows are shifted.
    pub shift: Option<u8>,
    /// Its data.
    pub payload: &'f [u8],
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'f> {
    /// Somebody asks for an Ethernet address.
    Arp(Arp),
    /// IP.
    Ip(Packet<'f>),
}

/// What a frame says; `None` when nobody here has to know.
pub fn parse(frame: &[u8]) -> Option<Parsed<'_>> {
    let (ethernet, rest) = frame.split_at_checked(ETHERNET_LEN)?;
    let mac = array(ethernet, 6)?;
    match word(ethernet, 12)? {
        ETHERTYPE_ARP => parse_arp(rest).map(Parsed::Arp),
        ETHERTYPE_IPV4 => parse_ipv4(mac, rest).map(Parsed::Ip),
        ETHERTYPE_IPV6 => parse_ipv6(mac, rest).map(Parsed::Ip),
        _ => None,
    }
}

fn parse_arp(bytes: &[u8]) -> Option<Arp> {
    /// Ethernet, IPv4, their lengths, and the operation "request".
    const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
    bytes.starts_with(&REQUEST).then_some(())?;
    Some(Arp {
        mac: array(bytes, 8)?,
        source: Ipv4Addr::from(array::<4>(bytes, 14)?),
        target: Ipv4Addr::from(array::<4>(bytes, 24)?),
    })
}

/// RFC 791. Fragments are dropped: the guest's packets fit its MTU.
fn parse_ipv4(mac: Mac, bytes: &[u8]) -> Option<Packet<'_>> {
    const MORE_OR_OFFSET: u16 = 0x3fff;
    let first = *bytes.first()?;
    let header = usize::from(first & 15) * 4;
    let total = usize::from(word(bytes, 2)?);
    let is_whole = first >> 4 == 4 && header >= IPV4_LEN && total >= header;
    if !is_whole || word(bytes, 6)? & MORE_OR_OFFSET != 0 {
        return None;
    }
    let whole = bytes.get(..total)?;
    let protocol = *whole.get(9)?;
    Some(Packet {
        mac,
        source: Ipv4Addr::from(array::<4>(whole, 12)?).into(),
        target: Ipv4Addr::from(array::<4>(whole, 16)?).into(),
        whole,
        body: parse_body(protocol, PROTOCOL_ICMP, &whole[header..])?,
    })
}

/// RFC 8200. What has extension headers is no business of ours: neighbours' group memberships, mostly.
fn parse_ipv6(mac: Mac, bytes: &[u8]) -> Option<Packet<'_>> {
    if bytes.first()? >> 4 != 6 {
        return None;
    }
    let len = usize::from(word(bytes, 4)?);
    let whole = bytes.get(..IPV6_LEN + len)?;
    Some(Packet {
        mac,
        source: Ipv6Addr::from(array::<16>(whole, 8)?).into(),
        target: Ipv6Addr::from(array::<16>(whole, 24)?).into(),
        whole,
        body: parse_body(whole[6], PROTOCOL_ICMPV6, &whole[IPV6_LEN..])?,
    })
}

fn parse_body(protocol: u8, icmp: u8, bytes: &[u8]) -> Option<Body<'_>> {
    match protocol {
        PROTOCOL_TCP => parse_tcp(bytes).map(Body::Tcp),
        PROTOCOL_UDP => parse_udp(bytes),
        _ if protocol == icmp => Some(Body::Icmp {
            kind: *bytes.first()?,
            rest: array(bytes, 4)?,
            payload: bytes.get(ICMP_LEN..)?,
        }),
        _ => Some(Body::Other),
    }
}

/// RFC 768.
fn parse_udp(bytes: &[u8]) -> Option<Body<'_>> {
    let len = usize::from(word(bytes, 4)?);
    Some(Body::Udp {
        source: word(bytes, 0)?,
        target: word(bytes, 2)?,
        payload: bytes.get(UDP_LEN..len)?,
    })
}

fn parse_tcp(bytes: &[u8]) -> Option<Tcp<'_>> {
    let header = usize::from(*bytes.get(12)? >> 4) * 4;
    if header < TCP_LEN {
        return None;
    }
    let (mss, shift) = parse_options(bytes.get(TCP_LEN..header)?);
    Some(Tcp {
        source: word(bytes, 0)?,
        target: word(bytes, 2)?,
        seq: u32::from_be_bytes(array(bytes, 4)?),
        ack: u32::from_be_bytes(array(bytes, 8)?),
        flags: bytes[13],
        window: word(bytes, 14)?,
        mss,
        shift,
        payload: &bytes[header..],
    })
}

/// The two options of a SYN that are ours to know. What is malformed ends the list.
fn parse_options(mut options: &[u8]) -> (Option<u16>, Option<u8>) {
    let (mut mss, mut shift) = (None, None);
    while let Some(kind) = options.first() {
        let len = match kind {
            0 => break,
            1 => 1,
            _ => match options.get(1) {
                Some(len) if *len >= 2 => usize::from(*len),
                _ => break,
            },
        };
        match (kind, len) {
            (2, 4) => mss = word(options, 2),
            (3, 3) => shift = options.get(2).copied(),
            _ => {}
        }
        options = options.get(len..).unwrap_or_default();
    }
    (mss, shift)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}
