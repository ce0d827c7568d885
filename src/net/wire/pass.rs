//! Packets that are passed on as they are: from whom, to whom, and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, IPV6_LEN, Mac, PROTOCOL_ICMPV6};
use crate::net::link::{ETHERNET_LEN, Frame, Unsummed};

/// Neighbour discovery: what concerns one link only (RFC 4861, 4).
const OF_LINK: std::ops::RangeInclusive<u8> = 133..=137;

/// A packet by its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends<'p> {
    /// Who sends.
    pub source: IpAddr,
    /// Who receives.
    pub target: IpAddr,
    /// All of it, without what stands behind its end.
    pub whole: &'p [u8],
}

impl Ends<'_> {
    /// Whether it is about the link that it came by, and so is for nobody else.
    pub fn is_of_link(&self) -> bool {
        let kind = self.whole.get(IPV6_LEN);
        self.source.is_ipv6()
            && self.whole[6] == PROTOCOL_ICMPV6
            && kind.is_some_and(|kind| OF_LINK.contains(kind))
    }
}

/// The packet in a frame.
pub fn ends_of_frame(frame: &[u8]) -> Option<Ends<'_>> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET_LEN)?;
    let kind = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    let found = ends(packet)?;
    let expected = match found.source {
        IpAddr::V4(_) => ETHERTYPE_IPV4,
        IpAddr::V6(_) => ETHERTYPE_IPV6,
    };
    (kind == expected).then_some(found)
}

/// The ends of a packet (RFC 791, 3.1; RFC 8200, 3).
pub fn ends(packet: &[u8]) -> Option<Ends<'_>> {
    let word = |at: usize| {
        let bytes = packet.get(at..at + 2)?;
        Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    };
    let (len, source, target): (usize, IpAddr, IpAddr) = match packet.first()? >> 4 {
        4 => {
            let address = |at: usize| {
                let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                Some(Ipv4Addr::from(octets).into())
            };
            let header = usize::from(packet[0] & 15) * 4;
            let len = word(2)?;
            (header >= IPV4_LEN && len >= header).then_some(())?;
            (len, address(12)?, address(16)?)
        }
        6 => {
            let address = |at: usize| {
                let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                Some(Ipv6Addr::from(octets).into())
            };
            (IPV6_LEN + word(4)?, address(8)?, address(24)?)
        }
        _ => return None,
    };
    Some(Ends {
        source,
        target,
        whole: packet.get(..len)?,
    })
}

/// Writes a packet as a frame from one Ethernet address to another.
pub fn write_packet(
    frame: &mut Frame,
    (from, to): (Mac, Mac),
    packet: &Ends<'_>,
    unsummed: Option<Unsummed>,
) {
    let kind = match packet.source {
        IpAddr::V4(_) => ETHERTYPE_IPV4,
        IpAddr::V6(_) => ETHERTYPE_IPV6,
    };
    frame.unsummed = unsummed;
    frame.bytes.clear();
    frame.bytes.extend(to);
    frame.bytes.extend(from);
    frame.bytes.extend(kind.to_be_bytes());
    frame.bytes.extend(packet.whole);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_stands_behind_a_packet_is_not_of_it() {
        let mut packet = [0; 30];
        packet[..4].copy_from_slice(&[0x45, 0, 0, 24]);
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let found = ends(&packet).unwrap();
        assert_eq!(found.whole.len(), 24);
        assert_eq!(
            (found.source, found.target),
            ([10, 0, 0, 1].into(), [10, 0, 0, 2].into())
        );
        packet[3] = 31;
        assert_eq!(ends(&packet), None, "cut short");
        packet[3] = 19;
        assert_eq!(ends(&packet), None, "shorter than its header");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in vec(any::<u8>(), 0..90)) {
            for version in [0x45, 0x60] {
                if let Some(first) = bytes.first_mut() {
                    *first = version;
                }
                if let Some(found) = ends(&bytes) {
                    let _either = found.is_of_link();
                    prop_assert!(found.whole.len() <= bytes.len());
                }
                let _none = ends_of_frame(&bytes);
            }
        }
    }
}
