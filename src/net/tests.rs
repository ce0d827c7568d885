//! The network as a guest sees it: a guest of a few lines, and sockets of this host's on its loopback. The way out to them
//! is the gateway's port 53, which leads to the host's resolver, wherever that is.

mod guest;
mod hostile;
mod limits;
mod members;
mod names;
mod streams;
mod visits;

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::time::Duration;

use guest::Guest;

use super::plan::{GATEWAY_V4, GATEWAY_V6};
use super::wire::{Body, flag, icmp_type};
use super::{Network, Setup};
use crate::spec::Egress;

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

fn icmp(body: Body<'_>) -> Option<(u8, [u8; 4], Vec<u8>)> {
    match body {
        Body::Icmp {
            kind,
            rest,
            payload,
        } => Some((kind, rest, payload.to_vec())),
        _ => None,
    }
}

#[test]
fn the_gateway_answers_pings_in_both_versions() {
    let mut guest = Guest::alone();
    for (gateway, ask, reply) in [
        (
            IpAddr::V4(GATEWAY_V4),
            icmp_type::ECHO,
            icmp_type::ECHO_REPLY,
        ),
        (
            GATEWAY_V6.into(),
            icmp_type::V6_ECHO,
            icmp_type::V6_ECHO_REPLY,
        ),
    ] {
        guest.ping(gateway, ask, [1, 2, 3, 4], b"payload");
        let answer = guest.wait(|packet| icmp(packet.body).filter(|_| packet.source == gateway));
        assert_eq!(answer, (reply, [1, 2, 3, 4], b"payload".to_vec()));
    }
}

#[test]
fn what_the_policy_forbids_is_refused_at_once() {
    let mut guest = Guest::alone();
    let forbidden = ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1"];
    for target in forbidden.map(|text| text.parse::<Ipv4Addr>().unwrap()) {
        guest.segment(target.into(), 80, flag::SYN, (7, 0), &[]);
        let (kind, _, quoted) = guest.wait(|packet| icmp(packet.body));
        assert_eq!(kind, icmp_type::UNREACHABLE);
        // The header's target, and the segment's first eight bytes, with its number.
        assert_eq!(quoted[16..20], target.octets());
        assert_eq!(quoted[24..28], 7u32.to_be_bytes());
        guest.datagram(target.into(), 80, b"x");
        let (kind, ..) = guest.wait(|packet| icmp(packet.body));
        assert_eq!(kind, icmp_type::UNREACHABLE);
        guest.ping(target.into(), icmp_type::ECHO, [0; 4], b"");
        let (kind, ..) = guest.wait(|packet| icmp(packet.body));
        assert_eq!(kind, icmp_type::UNREACHABLE);
    }
    let forbidden = ["::1", "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1"];
    for target in forbidden.map(|text| text.parse::<IpAddr>().unwrap()) {
        guest.segment(target, 80, flag::SYN, (7, 0), &[]);
        let (kind, ..) = guest.wait(|packet| icmp(packet.body));
        assert_eq!(kind, icmp_type::V6_UNREACHABLE, "{target}");
    }
}

#[test]
fn without_egress_nobody_is_reached() {
    let setup = Setup {
        egress: Egress::None.into(),
        ..Setup::default()
    };
    let mut guest = Guest::of(Network::new(setup, 1000).unwrap());
    guest.segment(ELSEWHERE.into(), 80, flag::SYN, (7, 0), &[]);
    let (kind, ..) = guest.wait(|packet| icmp(packet.body));
    assert_eq!(kind, icmp_type::UNREACHABLE);
}

#[test]
fn queries_go_to_the_hosts_resolver_and_answers_come_back() {
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    resolver
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut guest = Guest::with_resolvers(vec![resolver.local_addr().unwrap()]);
    guest.datagram(GATEWAY_V4.into(), 53, b"a query of some bytes");
    let mut query = [0; 100];
    let (len, from) = resolver.recv_from(&mut query).unwrap();
    assert_eq!(&query[..len], b"a query of some bytes");
    resolver.send_to(b"an answer", from).unwrap();
    let answer = guest.wait(|packet| match packet.body {
        Body::Udp {
            source, payload, ..
        } => Some((source, payload.to_vec())),
        _ => None,
    });
    assert_eq!(answer, (53, b"an answer".to_vec()));
}

#[test]
fn a_resolver_that_is_not_there_is_passed_over() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    resolver.set_nonblocking(true).unwrap();
    let mut guest = Guest::with_resolvers(vec![nobody, resolver.local_addr().unwrap()]);
    guest.datagram(GATEWAY_V4.into(), 53, b"a query of some bytes");
    let mut query = [0; 100];
    let (len, _) = guest.until(|guest| {
        guest.hear(|_| None::<()>);
        resolver.recv_from(&mut query).ok()
    });
    assert_eq!(&query[..len], b"a query of some bytes");
}

#[test]
fn names_of_the_hosts_file_are_answered_here() {
    let setup = Setup {
        hosts: "10.9.8.7 db\n".to_owned(),
        ..Setup::default()
    };
    let mut guest = Guest::of(Network::new(setup, 1000).unwrap());
    let query = [
        &[0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
        b"\x02db\0\0\x01\0\x01",
    ];
    guest.datagram(GATEWAY_V4.into(), 53, &query.concat());
    let answer = guest.wait(|packet| match packet.body {
        Body::Udp { payload, .. } => Some(payload.to_vec()),
        _ => None,
    });
    assert_eq!(answer[answer.len() - 4..], [10, 9, 8, 7]);
}

#[test]
fn nobody_is_at_the_gateways_other_ports() {
    let mut guest = Guest::alone();
    guest.segment(GATEWAY_V4.into(), 22, flag::SYN, (7, 0), &[]);
    let reset = guest.wait_segment();
    assert_eq!(reset.flags, flag::RST | flag::ACK);
    assert_eq!(reset.ack, 8);
    // A segment of no connection.
    guest.segment(GATEWAY_V4.into(), 53, flag::ACK, (7, 99), b"data");
    let reset = guest.wait_segment();
    assert_eq!((reset.flags, reset.seq), (flag::RST, 99));
}

#[test]
fn when_all_places_are_taken_the_next_is_refused_and_datagrams_make_room() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup {
        servers: vec![listener.local_addr().unwrap()],
        names_pass: true,
        ..Setup::default()
    };
    let mut guest = Guest::of(Network::new(setup, 4).unwrap());
    for port in 0..4 {
        guest.port = 1000 + port;
        guest.connect();
    }
    guest.port = 2000;
    guest.segment(GATEWAY_V4.into(), 53, flag::SYN, (7, 0), &[]);
    assert_eq!(guest.wait_own().flags, flag::RST | flag::ACK);
    let (mut first, _) = listener.accept().unwrap();
    guest.port = 1000;
    guest.segment(GATEWAY_V4.into(), 53, flag::RST, (guest.seq, 0), &[]);
    // Its end is the far end's, too.
    first.read_exact(&mut [0]).unwrap_err();
    guest.port = 2001;
    guest.connect();
}
