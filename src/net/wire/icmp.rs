//! What an ICMP error says, in both versions of IP.

use std::net::IpAddr;

use super::icmp_type;

/// Why a packet does not go where it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No way to the network.
    Network,
    /// No answer from the host.
    Host,
    /// Nobody at the port.
    Port,
    /// The policy says no.
    Prohibited,
}

/// Type and code of the message that says so to `source` (RFC 792 and RFC 1812, 5.2.7.1; RFC 4443, 3.1).
pub fn refusal(source: IpAddr, refusal: Refusal) -> (u8, u8) {
    match (source, refusal) {
        (IpAddr::V4(_), Refusal::Network) => (icmp_type::UNREACHABLE, 0),
        (IpAddr::V4(_), Refusal::Host) => (icmp_type::UNREACHABLE, 1),
        (IpAddr::V4(_), Refusal::Port) => (icmp_type::UNREACHABLE, 3),
        (IpAddr::V4(_), Refusal::Prohibited) => (icmp_type::UNREACHABLE, 13),
        (IpAddr::V6(_), Refusal::Network) => (icmp_type::V6_UNREACHABLE, 0),
        (IpAddr::V6(_), Refusal::Host) => (icmp_type::V6_UNREACHABLE, 3),
        (IpAddr::V6(_), Refusal::Port) => (icmp_type::V6_UNREACHABLE, 4),
        (IpAddr::V6(_), Refusal::Prohibited) => (icmp_type::V6_UNREACHABLE, 1),
    }
}
