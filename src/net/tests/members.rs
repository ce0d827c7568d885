//! Two guests on one network: an engine each, and a switch between them.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use super::guest::Guest;
use super::icmp;
use crate::net::changes::Change;
use crate::net::dns::message::tests::query;
use crate::net::dns::message::{Question, TYPE_A, TYPE_AAAA, TYPE_PTR};
use crate::net::link::{Frame, Peer, Unsummed};
use crate::net::plan::{GATEWAY_MAC, GUEST_MAC};
use crate::net::switch::tests::{Running, subnets};
use crate::net::trunk::Trunk;
use crate::net::wire::{self, Addressed, Body, Parsed, icmp_type};
use crate::net::{Network, Setup};
use crate::spec::{Egress, EgressPolicy, Seat};

const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));

/// A guest on the network of `switch`, and its place there.
fn enter(switch: &Running, name: &str, internal: bool) -> (Guest, Seat) {
    let (socket, member) = switch.join(name);
    let seat = Seat {
        network: "back".to_owned(),
        id: String::new(),
        subnets: subnets(24),
        v4: member.v4,
        v6: member.v6,
        internal,
        aliases: Vec::new(),
    };
    let setup = Setup {
        egress: EgressPolicy::from(Egress::Any),
        trunks: vec![Trunk::new(seat.clone(), OwnedFd::from(socket))],
        ..Setup::default()
    };
    (Guest::of(Network::new(setup, 1000).unwrap()), seat)
}

fn frame(source: IpAddr, target: IpAddr, port: u16, payload: &[u8]) -> Frame {
    let at = Addressed {
        from: GUEST_MAC,
        to: GATEWAY_MAC,
        source,
        target,
    };
    let mut frame = Frame::default();
    wire::write_udp(&mut frame, &at, (4000, port), payload);
    frame
}

fn datagram(body: Body<'_>) -> Option<Vec<u8>> {
    match body {
        Body::Udp { payload, .. } => Some(payload.to_vec()),
        _ => None,
    }
}

/// Lets a guest hear who is there.
fn settle(guest: &mut Guest, other: IpAddr) {
    guest.until(|guest| {
        guest.hear(|_| None::<()>);
        guest.network.knows(other).then_some(())
    });
}

#[test]
fn packets_of_one_guest_are_frames_of_the_others() {
    let switch = Running::new(subnets(24));
    let ((mut a, at_a), (mut b, at_b)) = (enter(&switch, "a", false), enter(&switch, "b", false));
    settle(&mut a, at_b.v6.into());
    let ends = [
        (at_a.v4.into(), at_b.v4.into()),
        (IpAddr::V6(at_a.v6), at_b.v6.into()),
    ];
    for (source, target) in ends {
        let sent = frame(source, target, 9, b"hello");
        a.network.take(&sent.bytes, sent.unsummed);
        let got = b.until(|b| {
            let mut frame = Frame::default();
            b.network.give(&mut frame).then_some(frame)
        });
        // As the sender left it, from the gateway's card to the guest's.
        assert_eq!(got.unsummed, sent.unsummed);
        assert_eq!(got.bytes[14..], sent.bytes[14..]);
        assert_eq!(got.bytes[..12], [GUEST_MAC, GATEWAY_MAC].concat());
        assert!(
            matches!(wire::parse(&got.bytes), Some(Parsed::Ip(packet)) if packet.source == source)
        );
    }
    // Its own address is all that it speaks with.
    let forged = frame([10, 5, 0, 99].into(), at_b.v4.into(), 9, b"forged");
    a.network.take(&forged.bytes, forged.unsummed);
    let last = frame(at_a.v4.into(), at_b.v4.into(), 9, b"last");
    a.network.take(
        &last.bytes,
        Some(Unsummed {
            start: 34,
            offset: 6,
        }),
    );
    assert_eq!(b.wait(|packet| datagram(packet.body)), b"last");
}

#[test]
fn who_is_not_there_is_unreachable_and_the_gateway_is() {
    let switch = Running::new(subnets(24));
    let (mut a, at_a) = enter(&switch, "a", false);
    let nobody = frame(at_a.v4.into(), [10, 5, 0, 77].into(), 9, b"x");
    a.network.take(&nobody.bytes, nobody.unsummed);
    let (kind, _, quoted) = a.wait(|packet| icmp(packet.body));
    assert_eq!(
        (kind, &quoted[16..20]),
        (icmp_type::UNREACHABLE, &[10, 5, 0, 77][..])
    );
    let at = Addressed {
        from: GUEST_MAC,
        to: GATEWAY_MAC,
        source: at_a.v4.into(),
        target: [10, 5, 0, 1].into(),
    };
    let mut ping = Frame::default();
    wire::write_icmp(
        &mut ping,
        &at,
        (icmp_type::ECHO, 0),
        [1, 2, 3, 4],
        b"payload",
    );
    a.network.take(&ping.bytes, None);
    let answer = a.wait(|packet| icmp(packet.body).filter(|_| packet.source == at.target));
    assert_eq!(
        answer,
        (icmp_type::ECHO_REPLY, [1, 2, 3, 4], b"payload".to_vec())
    );
}

#[test]
fn members_are_found_by_name_as_long_as_they_are_there() {
    let switch = Running::new(subnets(24));
    let ((mut a, at_a), (b, at_b)) = (enter(&switch, "a", false), enter(&switch, "Web", true));
    settle(&mut a, at_b.v4.into());
    let mut ask = |name: &str, kind| {
        let sent = frame(at_a.v4.into(), [10, 5, 0, 1].into(), 53, &query(name, kind));
        a.network.take(&sent.bytes, sent.unsummed);
        a.wait(|packet| datagram(packet.body))
    };
    let found = ask("wEB", TYPE_A);
    assert_eq!(
        found[2..8],
        [0x85, 0x80, 0, 1, 0, 1],
        "at first hand, one answer"
    );
    assert_eq!(found[found.len() - 4..], at_b.v4.octets());
    let found = ask("web-id", TYPE_AAAA);
    assert_eq!(found[found.len() - 16..], at_b.v6.octets());
    let nothing = ask("web", 15);
    assert_eq!(
        nothing[2..8],
        [0x85, 0x80, 0, 1, 0, 0],
        "nobody else is asked"
    );
    let found = ask("3.0.5.10.in-addr.arpa", TYPE_PTR);
    assert!(found.ends_with(b"\x03web\0"));
    assert_eq!(
        ask("77.0.5.10.in-addr.arpa", TYPE_PTR)[3] & 15,
        3,
        "no such name"
    );
    drop(b);
    a.until(|a| {
        a.hear(|_| None::<()>);
        (!a.network.knows(at_b.v4.into())).then_some(())
    });
    let query = query("web", TYPE_A);
    let asked = Question::asked(&query).unwrap();
    assert_eq!(a.network.answer_of_members(&asked, &query), None);
}

#[test]
fn from_internal_networks_there_is_no_way_out() {
    let switch = Running::new(subnets(24));
    let (mut a, at_a) = enter(&switch, "a", true);
    let sent = frame(at_a.v4.into(), OUTSIDE, 9, b"x");
    a.network.take(&sent.bytes, sent.unsummed);
    let (kind, ..) = a.wait(|packet| icmp(packet.body));
    assert_eq!(kind, icmp_type::UNREACHABLE);
    let asked = frame(
        at_a.v4.into(),
        [10, 5, 0, 1].into(),
        53,
        &query("example.com", TYPE_A),
    );
    a.network.take(&asked.bytes, asked.unsummed);
    let answer = a.wait(|packet| datagram(packet.body));
    assert_eq!(answer[3] & 15, 3, "no such name");
}

#[test]
fn a_guest_comes_and_goes_while_it_runs() {
    let switch = Running::new(subnets(24));
    let (mut b, at_b) = enter(&switch, "b", true);
    let mut a = Guest::alone();
    let changes = a.network.changes();
    let (socket, member) = switch.join("a");
    let at_a = Seat {
        v4: member.v4,
        v6: member.v6,
        ..at_b.clone()
    };
    changes.put(Change::Join(Box::new(at_a.clone()), socket.into()));
    settle(&mut a, at_b.v4.into());
    let sent = frame(at_a.v4.into(), at_b.v4.into(), 9, b"hello");
    a.network.take(&sent.bytes, sent.unsummed);
    assert_eq!(b.wait(|packet| datagram(packet.body)), b"hello");
    // What it had before, it has: the way out is its own, and not the internal network's.
    a.ping([10, 117, 107, 1].into(), icmp_type::ECHO, [0; 4], b"x");
    let (kind, ..) = a.wait(|packet| icmp(packet.body));
    assert_eq!(kind, icmp_type::ECHO_REPLY);
    changes.put(Change::Leave("back".to_owned()));
    b.until(|b| {
        a.network.poll().unwrap();
        b.hear(|_| None::<()>);
        (!b.network.knows(at_a.v4.into())).then_some(())
    });
    let lost = frame(at_a.v4.into(), at_b.v4.into(), 9, b"lost");
    a.network.take(&lost.bytes, lost.unsummed);
    for _ in 0..20 {
        b.network.poll().unwrap();
        assert_eq!(b.hear(|packet| datagram(packet.body)), None);
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!a.network.knows(at_b.v4.into()));
}

#[test]
fn without_its_switch_a_network_is_empty_and_nothing_else_is_lost() {
    let mut switch = Running::new(subnets(24));
    let ((mut a, at_a), (_b, at_b)) = (enter(&switch, "a", false), enter(&switch, "b", false));
    settle(&mut a, at_b.v4.into());
    switch.end();
    a.until(|a| {
        a.hear(|_| None::<()>);
        (!a.network.knows(at_b.v4.into())).then_some(())
    });
    let lost = frame(at_a.v4.into(), at_b.v4.into(), 9, b"x");
    a.network.take(&lost.bytes, lost.unsummed);
    let (kind, ..) = a.wait(|packet| icmp(packet.body));
    assert_eq!(kind, icmp_type::UNREACHABLE);
}
