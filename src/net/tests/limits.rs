//! Limits of what may flow. When it does is the meter's, and tested there with clocks of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::ELSEWHERE;
use super::guest::{Guest, Segment};
use crate::net::dns::message::tests::query;
use crate::net::plan::GATEWAY_V4;
use crate::net::wire::{Body, flag, icmp_type};
use crate::net::{Network, Setup};
use crate::spec::{NetLimits, Why};

/// A guest that is connected within limits, and the far end.
fn connected(limits: NetLimits) -> (Guest, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup {
        servers: vec![listener.local_addr().unwrap()],
        names_pass: true,
        limits,
        ..Setup::default()
    };
    let mut guest = Guest::of(Network::new(setup, 1000).unwrap());
    guest.connect();
    (guest, listener.accept().unwrap().0)
}

fn last_verdict(guest: &Guest) -> Why {
    let last = guest.network.attempts.lines().last().unwrap();
    assert!(!last.verdict.allows);
    last.verdict.why
}

#[test]
fn one_conversation_more_than_may_be_is_refused_and_written_down() {
    let limits = NetLimits {
        connections: Some(1),
        ..NetLimits::default()
    };
    let (mut guest, _far) = connected(limits);
    guest.port += 1;
    guest.segment(ELSEWHERE.into(), 80, flag::SYN, (7, 0), &[]);
    assert_eq!(guest.wait_own().flags, flag::RST | flag::ACK);
    assert_eq!(last_verdict(&guest), Why::Connections);
    guest.datagram(ELSEWHERE.into(), 80, b"x");
    guest.ping(ELSEWHERE.into(), icmp_type::ECHO, [0; 4], b"");
    let lines = guest.network.attempts.lines();
    assert_eq!(lines.len(), 3);
    assert!(
        lines
            .iter()
            .all(|line| line.verdict.why == Why::Connections)
    );
}

#[test]
fn when_all_bytes_have_flowed_everything_is_refused() {
    let limits = NetLimits {
        bytes: Some(10),
        ..NetLimits::default()
    };
    let (mut guest, mut far) = connected(limits);
    far.write_all(b"12345678").unwrap();
    assert_eq!(guest.read(8), b"12345678");
    guest.say(0, b"abcde");
    let reset = guest.until(|guest| {
        let segment = guest.hear(Segment::of)?;
        (segment.flags & flag::RST != 0).then_some(segment)
    });
    assert_eq!(reset.seq, guest.ack);
    let mut heard = Vec::new();
    // Its end may be a reset.
    let _end = far.read_to_end(&mut heard);
    assert_eq!(heard, b"ab");
    guest.segment(ELSEWHERE.into(), 80, flag::SYN, (7, 0), &[]);
    let (kind, ..) = guest.wait(|packet| super::icmp(packet.body));
    assert_eq!(
        (kind, last_verdict(&guest)),
        (icmp_type::UNREACHABLE, Why::Bytes)
    );
    guest.datagram(GATEWAY_V4.into(), 53, &query("a.example", 1));
    let code = guest.wait(|packet| match packet.body {
        Body::Udp { payload, .. } => Some(payload[3] & 15),
        _ => None,
    });
    assert_eq!((code, last_verdict(&guest)), (3, Why::Bytes));
}

#[test]
fn within_a_rate_everything_arrives_both_ways() {
    let limits = NetLimits {
        rate: Some(200_000),
        ..NetLimits::default()
    };
    let (mut guest, far) = connected(limits);
    let sent: Vec<u8> = (0..70_000u32).map(|n| n.to_le_bytes()[0]).collect();
    guest.exchange(&far, &sent);
}
