//! From a packet to the bytes of a frame.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Arp, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMP_LEN, IPV4_LEN, Mac, PROTOCOL_ICMP,
    PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, TCP_LEN, Tcp, UDP_LEN, checksum, pseudo_sum,
};
use crate::net::link::{ETHERNET_LEN, Frame, Unsummed};

/// Hops that a packet may make (RFC 1700 has 64), of which it makes one.
const HOPS: u8 = 64;

/// Where the checksum of TCP and of UDP is, in their headers.
const TCP_SUM: u16 = 16;
const UDP_SUM: u16 = 6;

/// From whom to whom; both addresses are of the same version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addressed {
    /// Ethernet address of the network's end of the cable.
    pub from: Mac,
    /// Ethernet address of the guest's.
    pub to: Mac,
    /// Who sends.
    pub source: IpAddr,
    /// Who receives.
    pub target: IpAddr,
}

/// Answers `asked`: its target is at `mac`.
pub fn write_arp(frame: &mut Frame, mac: Mac, asked: &Arp) {
    let bytes = begin(frame);
    ethernet(bytes, mac, asked.mac, ETHERTYPE_ARP);
    // Ethernet, IPv4, their lengths, and the operation "reply" (RFC 826).
    bytes.extend([0, 1, 8, 0, 6, 4, 0, 2]);
    bytes.extend(mac);
    bytes.extend(Ipv4Addr::octets(&asked.target));
    bytes.extend(asked.mac);
    bytes.extend(Ipv4Addr::octets(&asked.source));
}

/// A segment; `payload` in two parts, as a ring has them. Options of `segment` go into a SYN only.
pub fn write_tcp(frame: &mut Frame, at: &Addressed, segment: &Tcp<'_>, payload: (&[u8], &[u8])) {
    let mut options = Vec::new();
    if let Some(mss) = segment.mss {
        options.extend([2, 4]);
        options.extend(mss.to_be_bytes());
    }
    if let Some(shift) = segment.shift {
        options.extend([1, 3, 3, shift]);
    }
    let header = TCP_LEN + options.len();
    let len = header + payload.0.len() + payload.1.len();
    let start = ip(begin(frame), at, PROTOCOL_TCP, len);
    let sum = pseudo_sum(at.source, at.target, PROTOCOL_TCP, len);
    let bytes = &mut frame.bytes;
    bytes.extend(segment.source.to_be_bytes());
    bytes.extend(segment.target.to_be_bytes());
    bytes.extend(segment.seq.to_be_bytes());
    bytes.extend(segment.ack.to_be_bytes());
    bytes.push(u8::try_from(header / 4).expect("28 bytes at most") << 4);
    bytes.push(segment.flags);
    bytes.extend(segment.window.to_be_bytes());
    bytes.extend(sum.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(options);
    bytes.extend(payload.0);
    bytes.extend(payload.1);
    frame.unsummed = Some(unsummed(start, TCP_SUM));
}

/// A datagram between two ports, from the first to the second.
pub fn write_udp(frame: &mut Frame, at: &Addressed, ports: (u16, u16), payload: &[u8]) {
    let len = UDP_LEN + payload.len();
    let start = ip(begin(frame), at, PROTOCOL_UDP, len);
    let sum = pseudo_sum(at.source, at.target, PROTOCOL_UDP, len);
    let bytes = &mut frame.bytes;
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend(short(len).to_be_bytes());
    bytes.extend(sum.to_be_bytes());
    bytes.extend(payload);
    frame.unsummed = Some(unsummed(start, UDP_SUM));
}

/// A message of ICMP, or of ICMPv6: type and code, the rest of the header, and what follows.
pub fn write_icmp(
    frame: &mut Frame,
    at: &Addressed,
    (kind, code): (u8, u8),
    rest: [u8; 4],
    payload: &[u8],
) {
    let len = ICMP_LEN + payload.len();
    let (protocol, begun) = match at.source {
        IpAddr::V4(_) => (PROTOCOL_ICMP, 0),
        IpAddr::V6(_) => {
            let protocol = PROTOCOL_ICMPV6;
            (protocol, pseudo_sum(at.source, at.target, protocol, len))
        }
    };
    let start = ip(begin(frame), at, protocol, len);
    let bytes = &mut frame.bytes;
    bytes.extend([kind, code, 0, 0]);
    bytes.extend(rest);
    bytes.extend(payload);
    let sum = checksum(begun.into(), &bytes[start..]);
    bytes[start + 2..start + 4].copy_from_slice(&sum.to_be_bytes());
}

fn begin(frame: &mut Frame) -> &mut Vec<u8> {
    frame.unsummed = None;
    frame.bytes.clear();
    &mut frame.bytes
}

fn ethernet(bytes: &mut Vec<u8>, from: Mac, to: Mac, kind: u16) {
    bytes.extend(to);
    bytes.extend(from);
    bytes.extend(kind.to_be_bytes());
}

/// Writes the headers before `len` bytes of `protocol`; where those begin.
fn ip(bytes: &mut Vec<u8>, at: &Addressed, protocol: u8, len: usize) -> usize {
    match (at.source, at.target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            ethernet(bytes, at.from, at.to, ETHERTYPE_IPV4);
            bytes.extend([0x45, 0]);
            bytes.extend(short(IPV4_LEN + len).to_be_bytes());
            // No identifier: it is not to be fragmented (RFC 6864, 4.1).
            bytes.extend([0, 0, 0x40, 0, HOPS, protocol, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(target.octets());
            let sum = checksum(0, &bytes[ETHERNET_LEN..]);
            bytes[ETHERNET_LEN + 10..ETHERNET_LEN + 12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            ethernet(bytes, at.from, at.to, ETHERTYPE_IPV6);
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(short(len).to_be_bytes());
            // Neighbours are believed only with all hops left (RFC 4861, 7.1).
            let hops = if protocol == PROTOCOL_ICMPV6 {
                255
            } else {
                HOPS
            };
            bytes.extend([protocol, hops]);
            bytes.extend(source.octets());
            bytes.extend(target.octets());
        }
        _ => debug_assert!(false, "addresses of two versions of IP: {at:?}"),
    }
    bytes.len()
}

fn unsummed(start: usize, offset: u16) -> Unsummed {
    Unsummed {
        start: short(start),
        offset,
    }
}

fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}
