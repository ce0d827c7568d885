//! What the guest says: each packet goes to its flow, begins one, or is answered here.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::names::Asked;
use super::refusals::meaning;
use super::{Barred, Network, addressed, echo_kind, reply_kind};
use crate::net::dns::DnsFlow;
use crate::net::echo::EchoFlow;
use crate::net::flows::{Id, Key, Kind, NewFlow};
use crate::net::host;
use crate::net::plan::{DNS_PORT, GATEWAY_MAC};
use crate::net::tcp::TcpFlow;
use crate::net::udp::UdpFlow;
use crate::net::wire::{self, Arp, Body, Packet, Refusal, Tcp, flag, icmp_type};
use crate::spec::Carrier;

impl Network {
    /// Every address on the cable but the guest's own is ours.
    pub(super) fn answer_arp(&mut self, asked: &Arp) {
        let target = IpAddr::V4(asked.target);
        if !self.plan.is_guest(target) {
            self.reply(|frame| wire::write_arp(frame, GATEWAY_MAC, asked));
        }
    }

    pub(super) fn take_packet(&mut self, packet: &Packet<'_>, now: Instant) {
        if let Body::Icmp { kind, payload, .. } = packet.body
            && kind == icmp_type::V6_NEIGHBOR_SOLICITATION
            && packet.source.is_ipv6()
        {
            return self.answer_neighbor(packet, payload);
        }
        // Nobody else is on this cable.
        if !self.plan.is_guest(packet.source) || self.plan.is_guest(packet.target) {
            return;
        }
        match packet.body {
            Body::Tcp(ref segment) => self.take_tcp(packet, segment, now),
            Body::Udp {
                source,
                target,
                payload,
            } => self.take_udp(packet, (source, target), payload, now),
            Body::Icmp {
                kind,
                rest,
                payload,
            } => self.take_icmp(packet, kind, rest, payload, now),
            Body::Other => self.refuse(packet, Refusal::Prohibited),
        }
    }

    /// Who has an address (RFC 4861, 7.2): we do, but for the guest's own, whose duplicates it looks for.
    fn answer_neighbor(&mut self, packet: &Packet<'_>, payload: &[u8]) {
        /// Solicited, and to be believed; then our Ethernet address as an option.
        const FLAGS: [u8; 4] = [0x60, 0, 0, 0];
        let Some(target) = payload.first_chunk::<16>() else {
            return;
        };
        let target = IpAddr::from(*target);
        if !self.plan.is_guest(packet.source) || self.plan.is_guest(target) {
            return;
        }
        let mut answer = payload[..16].to_vec();
        answer.extend([2, 1]);
        answer.extend(GATEWAY_MAC);
        let at = addressed(packet.mac, target, packet.source);
        let kind = (icmp_type::V6_NEIGHBOR_ADVERTISEMENT, 0);
        self.reply(|frame| wire::write_icmp(frame, &at, kind, FLAGS, &answer));
    }

    fn take_tcp(&mut self, packet: &Packet<'_>, segment: &Tcp<'_>, now: Instant) {
        let key = Key {
            carrier: Carrier::Tcp,
            guest: SocketAddr::new(packet.source, segment.source),
            peer: SocketAddr::new(packet.target, segment.target),
        };
        let Some(id) = self.flows.find(&key) else {
            return self.begin_tcp(packet, key, segment, now);
        };
        let share = self.share(now);
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        flow.last = now;
        let goes_on = match &mut flow.kind {
            Kind::Tcp(tcp) => {
                tcp.allow(share.sent, share.received);
                tcp.take(segment, now)
            }
            _ => true,
        };
        self.count(id);
        match goes_on {
            true => self.line_up(id),
            false => drop(self.flows.remove(id)),
        }
    }

    /// A segment of no connection: one that asks for it, or one whose sender is mistaken.
    fn begin_tcp(&mut self, packet: &Packet<'_>, key: Key, segment: &Tcp<'_>, now: Instant) {
        if segment.flags & (flag::SYN | flag::ACK | flag::RST) != flag::SYN {
            return self.reset(packet, &key, segment);
        }
        let (target, line) = match self.reach(&key, now) {
            Ok(way) => way,
            Err(Barred::Full | Barred::By(Refusal::Port)) => {
                return self.reset(packet, &key, segment);
            }
            Err(Barred::By(why)) => return self.refuse(packet, why),
        };
        let is_for_names = self.plan.is_gateway(key.peer.ip()) && !self.names_pass;
        let opened = match is_for_names {
            true => self
                .open_names(now)
                .map(|(socket, names)| (socket, Some(names))),
            false => host::connect_tcp(target).map(|socket| (socket, None)),
        };
        let (socket, names) = match opened {
            Ok(opened) => opened,
            Err(error) if meaning(&error) == Refusal::Port => {
                return self.reset(packet, &key, segment);
            }
            Err(error) => return self.refuse(packet, meaning(&error)),
        };
        let limits = self.limits(packet.source);
        let tcp = TcpFlow::asked_for(segment, socket, self.random.next(), limits);
        let flow = NewFlow {
            key,
            mac: packet.mac,
            line,
        };
        let begun = self.begin(flow, Kind::Tcp(Box::new(tcp)), now);
        match (begun, names) {
            (None, _) => self.reset(packet, &key, segment),
            (Some(id), Some(names)) => self.begin_names(id, names, now),
            (Some(_), None) => {}
        }
    }

    fn take_udp(&mut self, packet: &Packet<'_>, ports: (u16, u16), payload: &[u8], now: Instant) {
        let key = Key {
            carrier: Carrier::Udp,
            guest: SocketAddr::new(packet.source, ports.0),
            peer: SocketAddr::new(packet.target, ports.1),
        };
        let is_query = self.plan.is_gateway(key.peer.ip()) && key.peer.port() == DNS_PORT;
        let mut payload = Cow::Borrowed(payload);
        if is_query {
            match self.ask(&payload, now) {
                Asked::On(None) => {}
                Asked::On(Some(alone)) => payload = Cow::Owned(alone),
                Asked::Answered(answer) => {
                    let at = addressed(packet.mac, packet.target, packet.source);
                    let ports = (ports.1, ports.0);
                    return self.reply(|frame| wire::write_udp(frame, &at, ports, &answer));
                }
                Asked::Nothing => return,
            }
        }
        let Some(id) = self
            .flows
            .find(&key)
            .or_else(|| self.begin_udp(packet, key, now))
        else {
            return;
        };
        let may_send = self.may_send(now);
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        flow.last = now;
        if !may_send {
            // Lost, as datagrams are.
            return;
        }
        if let Kind::Visit(_) = flow.kind {
            return self.answer_visit(id, &payload);
        }
        let mut moved = false;
        match &mut flow.kind {
            Kind::Udp(udp) => {
                flow.moved.sent += payload.len();
                udp.take(&payload);
            }
            Kind::Dns(dns) => {
                flow.moved.sent += payload.len();
                moved = dns.take(&payload, &mut self.names);
            }
            _ => {}
        }
        if moved && self.watch(id).is_err() {
            self.flows.remove(id);
        }
        // What went wrong is told at once.
        self.count(id);
        self.line_up(id);
    }

    fn begin_udp(&mut self, packet: &Packet<'_>, key: Key, now: Instant) -> Option<Id> {
        let (target, line) = match self.reach(&key, now) {
            Ok(way) => way,
            Err(Barred::Full) => return None,
            Err(Barred::By(why)) => {
                self.refuse(packet, why);
                return None;
            }
        };
        let opened = match self.plan.is_gateway(key.peer.ip()) {
            true => DnsFlow::new(&self.names).map(Kind::Dns),
            false => host::connect_udp(target).map(|socket| Kind::Udp(UdpFlow::new(socket))),
        };
        let mac = packet.mac;
        match opened {
            Ok(kind) => self.begin(NewFlow { key, mac, line }, kind, now),
            Err(error) => {
                self.refuse(packet, meaning(&error));
                None
            }
        }
    }

    fn take_icmp(
        &mut self,
        packet: &Packet<'_>,
        kind: u8,
        rest: [u8; 4],
        payload: &[u8],
        now: Instant,
    ) {
        if kind != echo_kind(packet.target) {
            return;
        }
        if self.plan.is_gateway(packet.target) {
            let at = addressed(packet.mac, packet.target, packet.source);
            let kind = (reply_kind(packet.target), 0);
            return self.reply(|frame| wire::write_icmp(frame, &at, kind, rest, payload));
        }
        let [high, low, sequence @ ..] = rest;
        let key = Key {
            carrier: Carrier::Icmp,
            guest: SocketAddr::new(packet.source, u16::from_be_bytes([high, low])),
            peer: SocketAddr::new(packet.target, 0),
        };
        let Some(id) = self
            .flows
            .find(&key)
            .or_else(|| self.begin_echo(packet, key, now))
        else {
            return;
        };
        let may_send = self.may_send(now);
        if let Some(flow) = self.flows.get(id) {
            flow.last = now;
            if let (true, Kind::Echo(echo)) = (may_send, &mut flow.kind) {
                echo.take(kind, sequence, payload);
                flow.moved.sent += payload.len();
            }
        }
        self.count(id);
        self.line_up(id);
    }

    fn begin_echo(&mut self, packet: &Packet<'_>, key: Key, now: Instant) -> Option<Id> {
        let line = match self.reach(&key, now) {
            Ok((_, line)) => line,
            Err(Barred::Full) => return None,
            Err(Barred::By(why)) => {
                self.refuse(packet, why);
                return None;
            }
        };
        let mac = packet.mac;
        let [high, low, ..] = self.random.next().to_ne_bytes();
        match EchoFlow::new(packet.target, [high, low]) {
            Ok(echo) => self.begin(NewFlow { key, mac, line }, Kind::Echo(echo), now),
            Err(error) => {
                self.refuse(packet, meaning(&error));
                None
            }
        }
    }
}
