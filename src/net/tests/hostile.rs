//! A guest that means harm, or is broken: nothing panics, and nothing grows without end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;

use super::guest::Guest;
use crate::net::attempts::MOST;
use crate::net::dns::message::tests::query;
use crate::net::link::{Frame, Peer};
use crate::net::plan::{GATEWAY_MAC, GATEWAY_V4, GUEST_MAC, GUEST_V4};
use crate::net::wire::{self, Addressed, Tcp, flag};
use crate::net::{Network, Setup};
use crate::spec::{Carrier, Egress, EgressPolicy};

/// A segment with anything in it, to the resolver's port or to another.
fn segments() -> impl Strategy<Value = Tcp<'static>> {
    let target = prop_oneof![Just(53u16), any::<u16>()];
    let near = prop_oneof![0..3u32, any::<u32>()];
    (
        1..3u16,
        target,
        near.clone(),
        near,
        0..64u8,
        any::<u16>(),
        any::<Option<u16>>(),
        any::<Option<u8>>(),
    )
        .prop_map(
            |(source, target, seq, ack, flags, window, mss, shift)| Tcp {
                source,
                target,
                seq,
                ack,
                flags,
                window,
                mss,
                shift,
                payload: &[],
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn segments_in_any_order_are_survived(
        segments in vec((segments(), vec(any::<u8>(), 0..64)), 1..60),
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let setup = Setup {
            // The only way out of here.
            servers: vec![listener.local_addr().unwrap()],
            names_pass: true,
            ..Setup::default()
        };
        let mut guest = Guest::of(Network::new(setup, 100).unwrap());
        let at = Addressed {
            from: GUEST_MAC,
            to: GATEWAY_MAC,
            source: GUEST_V4.into(),
            target: GATEWAY_V4.into(),
        };
        for (segment, payload) in segments {
            let mut frame = Frame::default();
            wire::write_tcp(&mut frame, &at, &segment, (&payload, &[]));
            guest.network.take(&frame.bytes, frame.unsummed);
            guest.network.poll().unwrap();
            let mut count = 0;
            while guest.network.give(&mut frame) {
                count += 1;
                prop_assert!(count < 50, "it goes on for ever");
            }
        }
    }

    #[test]
    fn frames_of_any_bytes_are_survived(frames in vec(vec(any::<u8>(), 0..120), 1..40)) {
        let setup = Setup { egress: Egress::None.into(), ..Setup::default() };
        let mut guest = Guest::of(Network::new(setup, 100).unwrap());
        for mut bytes in frames {
            guest.network.take(&bytes, None);
            // The same as IPv4, or as IPv6.
            for (kind, first) in [(0x0800u16, 0x45), (0x86dd, 0x60)] {
                if bytes.len() > 15 {
                    bytes[12..14].copy_from_slice(&kind.to_be_bytes());
                    bytes[14] = first;
                }
                guest.network.take(&bytes, None);
            }
        }
        guest.network.poll().unwrap();
        let mut frame = Frame::default();
        let given = std::iter::from_fn(|| guest.network.give(&mut frame).then_some(())).count();
        prop_assert!(given <= 120);
    }
}

#[test]
fn answers_that_nobody_takes_are_lost() {
    let mut guest = Guest::alone();
    let elsewhere: IpAddr = Ipv4Addr::LOCALHOST.into();
    for _ in 0..10_000 {
        guest.segment(elsewhere, 80, flag::SYN, (1, 0), &[]);
    }
    let mut frame = Frame::default();
    let given = std::iter::from_fn(|| guest.network.give(&mut frame).then_some(())).count();
    assert_eq!(given, 256);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn answers_of_any_bytes_are_survived_and_none_opens_what_is_not_asked_for(
        answers in vec(vec(any::<u8>(), 0..100), 1..10),
    ) {
        let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let setup = Setup {
            egress: EgressPolicy::parse(&["allow:a.example".to_owned()]).unwrap(),
            servers: vec![resolver.local_addr().unwrap()],
            ..Setup::default()
        };
        let mut guest = Guest::of(Network::new(setup, 100).unwrap());
        let asked = query("a.example", 1);
        guest.datagram(GATEWAY_V4.into(), 53, &asked);
        let mut heard = [0; 512];
        let (len, from) = resolver.recv_from(&mut heard).unwrap();
        for bytes in answers {
            // As they are, and behind the head of an answer to another question.
            resolver.send_to(&bytes, from).unwrap();
            let mut answer = heard[..len].to_vec();
            answer[2] |= 0x80;
            answer[7] = 3;
            answer[13] = b'b';
            resolver.send_to(&[answer, bytes].concat(), from).unwrap();
        }
        guest.network.poll().unwrap();
        let mut frame = Frame::default();
        while guest.network.give(&mut frame) {}
        for number in 0..=255 {
            let address = SocketAddr::from(([number, number, 1, 1], 80));
            let verdict = guest.network.policy.judge(Carrier::Tcp, address, Instant::now());
            prop_assert!(!verdict.allows);
        }
    }
}

#[test]
fn who_knocks_everywhere_is_written_down_in_lines_of_bounded_number() {
    let setup = Setup {
        egress: Egress::None.into(),
        ..Setup::default()
    };
    let mut guest = Guest::of(Network::new(setup, 100).unwrap());
    for number in 0..2000u16 {
        let [high, low] = number.to_be_bytes();
        let target: IpAddr = Ipv4Addr::new(192, 0, high, low).into();
        guest.segment(target, number, flag::SYN, (1, 0), &[]);
        guest.datagram(target, number, b"x");
        guest.ping(target, 8, [0; 4], b"");
        let name = format!("{number}.example");
        guest.datagram(GATEWAY_V4.into(), 53, &query(&name, 1));
    }
    let lines = guest.network.attempts.lines();
    assert_eq!(lines.len(), MOST + 1);
    assert_eq!(lines.iter().map(|line| line.count).sum::<u64>(), 8000);
    assert!(lines.iter().all(|line| !line.verdict.allows));
}

#[test]
fn only_the_guest_itself_is_heard() {
    let mut guest = Guest::alone();
    let at = Addressed {
        from: GUEST_MAC,
        to: GATEWAY_MAC,
        source: Ipv4Addr::new(10, 117, 107, 3).into(),
        target: GATEWAY_V4.into(),
    };
    let mut frame = Frame::default();
    wire::write_icmp(&mut frame, &at, (8, 0), [0; 4], b"x");
    guest.network.take(&frame.bytes, frame.unsummed);
    assert!(!guest.network.give(&mut frame));
}
