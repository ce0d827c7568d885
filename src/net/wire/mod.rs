//! What frames say, and how they are written: Ethernet, ARP, IP, TCP, UDP, ICMP.
//!
//! Parsing is pure and total: bytes of the guest's become a typed packet, or nothing. Checksums of the guest
//! are not looked at: its cable is memory, and it leaves most of them to the device anyway.

mod build;
mod icmp;
mod parse;
mod pass;

pub use build::{Addressed, write_arp, write_icmp, write_tcp, write_udp};
pub use icmp::{Refusal, refusal};
pub use parse::{Arp, Body, Packet, Parsed, Tcp, parse};
pub use pass::{Ends, ends, ends_of_frame, write_packet};

use std::net::IpAddr;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// EtherTypes (IEEE 802 numbers).
pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Protocol numbers of IP (IANA).
pub const PROTOCOL_ICMP: u8 = 1;
pub const PROTOCOL_TCP: u8 = 6;
pub const PROTOCOL_UDP: u8 = 17;
pub const PROTOCOL_ICMPV6: u8 = 58;

/// Bytes of the headers, without options.
pub const IPV4_LEN: usize = 20;
pub const IPV6_LEN: usize = 40;
pub const TCP_LEN: usize = 20;
pub const UDP_LEN: usize = 8;
pub const ICMP_LEN: usize = 8;

/// Flags of TCP (RFC 9293, 3.1).
pub mod flag {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const PSH: u8 = 8;
    pub const ACK: u8 = 16;
}

/// Types of ICMP (RFC 792), and of ICMPv6 (RFC 4443, RFC 4861).
pub mod icmp_type {
    pub const ECHO_REPLY: u8 = 0;
    pub const UNREACHABLE: u8 = 3;
    pub const ECHO: u8 = 8;
    pub const V6_UNREACHABLE: u8 = 1;
    pub const V6_ECHO: u8 = 128;
    pub const V6_ECHO_REPLY: u8 = 129;
    pub const V6_NEIGHBOR_SOLICITATION: u8 = 135;
    pub const V6_NEIGHBOR_ADVERTISEMENT: u8 = 136;
}

/// The Internet checksum (RFC 1071) of `bytes`, on top of a sum that was begun.
pub fn checksum(begun: u32, bytes: &[u8]) -> u16 {
    !fold(u64::from(begun) + sum(bytes))
}

/// The sum of 16-bit words, not folded: 64 KiB of them fit many times.
fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    let whole: u64 = words
        .by_ref()
        .map(|word| u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]])))
        .sum();
    let mut rest = [0; 4];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    whole + u64::from(u32::from_be_bytes(rest))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}

/// The sum of the pseudo header of TCP, UDP and ICMPv6 (RFC 9293, 3.1; RFC 8200, 8.1), folded.
fn pseudo_sum(source: IpAddr, target: IpAddr, protocol: u8, len: usize) -> u16 {
    let addresses = match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => sum(&source.octets()) + sum(&target.octets()),
        (IpAddr::V6(source), IpAddr::V6(target)) => sum(&source.octets()) + sum(&target.octets()),
        _ => 0,
    };
    fold(addresses + u64::from(protocol) + len as u64)
}

#[cfg(test)]
mod tests;
