//! What the guest is told of what does not work: by resets, and by errors of ICMP that quote what they mean.

use std::io;

use super::{Network, addressed, echo_kind, write_segment};
use crate::net::flows::{Flow, Key, Kind};
use crate::net::link::{ETHERNET_LEN, Frame};
use crate::net::plan::GATEWAY_MAC;
use crate::net::wire::{self, Addressed, IPV6_LEN, Mac, Packet, Refusal, TCP_LEN, Tcp, flag};
use crate::spec::Carrier;

impl Network {
    /// Says why a packet goes nowhere: with the beginning of it, so that its sender knows which.
    pub(super) fn refuse(&mut self, packet: &Packet<'_>, why: Refusal) {
        let quoted = &packet.whole[..packet.whole.len().min(IPV6_LEN + TCP_LEN)];
        let at = addressed(
            packet.mac,
            self.plan.gateway_for(packet.source),
            packet.source,
        );
        let kind = wire::refusal(packet.source, why);
        self.reply(|frame| wire::write_icmp(frame, &at, kind, [0; 4], quoted));
    }

    /// Says the same of a packet that is gone: `seq` is the number of a segment that began a connection.
    fn refuse_flow(&mut self, key: &Key, mac: Mac, seq: u32, error: &io::Error) {
        let mut original = Frame::default();
        let at = Addressed {
            from: mac,
            to: GATEWAY_MAC,
            source: key.guest.ip(),
            target: key.peer.ip(),
        };
        let (source, target) = (key.guest.port(), key.peer.port());
        match key.carrier {
            Carrier::Tcp => {
                let segment = Tcp {
                    source,
                    target,
                    seq,
                    flags: flag::SYN,
                    ..Tcp::default()
                };
                wire::write_tcp(&mut original, &at, &segment, (&[], &[]));
            }
            Carrier::Udp => wire::write_udp(&mut original, &at, (source, target), &[]),
            Carrier::Icmp => {
                let [high, low] = source.to_be_bytes();
                let kind = echo_kind(key.peer.ip());
                wire::write_icmp(&mut original, &at, (kind, 0), [high, low, 0, 0], &[]);
            }
        }
        let at = addressed(mac, self.plan.gateway_for(key.guest.ip()), key.guest.ip());
        let kind = wire::refusal(key.guest.ip(), meaning(error));
        let quoted = &original.bytes[ETHERNET_LEN..];
        self.reply(|frame| wire::write_icmp(frame, &at, kind, [0; 4], quoted));
    }

    /// Nobody is there (RFC 9293, 3.5.2).
    pub(super) fn reset(&mut self, packet: &Packet<'_>, key: &Key, segment: &Tcp<'_>) {
        if segment.flags & flag::RST != 0 {
            return;
        }
        let counts = |flag| usize::from(segment.flags & flag != 0);
        let len = segment.payload.len() + counts(flag::SYN) + counts(flag::FIN);
        let answer = match segment.flags & flag::ACK {
            0 => Tcp {
                ack: segment.seq.wrapping_add(u32::try_from(len).unwrap_or(0)),
                flags: flag::RST | flag::ACK,
                ..Tcp::default()
            },
            _ => Tcp {
                seq: segment.ack,
                flags: flag::RST,
                ..Tcp::default()
            },
        };
        let mac = packet.mac;
        self.reply(|frame| write_segment(frame, key, mac, answer, (&[], &[])));
    }

    /// The far end of a flow cannot be reached, or is there no longer.
    pub(super) fn refused(&mut self, flow: &Flow, error: &io::Error) {
        let (key, mac) = (&flow.key, flow.mac);
        match &flow.kind {
            Kind::Tcp(tcp) if meaning(error) == Refusal::Port => {
                let segment = tcp.reset();
                self.reply(|frame| write_segment(frame, key, mac, segment, (&[], &[])));
            }
            Kind::Tcp(tcp) => self.refuse_flow(key, mac, tcp.first(), error),
            _ => self.refuse_flow(key, mac, 0, error),
        }
    }
}

/// What the host's word means for the guest.
pub(super) fn meaning(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Refusal::Port,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => Refusal::Network,
        io::ErrorKind::PermissionDenied => Refusal::Prohibited,
        _ => Refusal::Host,
    }
}
