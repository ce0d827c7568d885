//! Rules by name: what the guest is told by the resolver, and where it gets by that.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::guest::Guest;
use crate::net::dns::message::tests::{query, response};
use crate::net::plan::{GATEWAY_V4, GATEWAY_V6};
use crate::net::wire::{Body, flag, icmp_type};
use crate::net::{Network, Setup};
use crate::spec::{Carrier, Egress, EgressPolicy, Verdict, Why};

const A: u16 = 1;

/// A guest under these rules, and its resolver.
fn guarded(words: &str, hosts: &str) -> (Guest, UdpSocket) {
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    resolver
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let setup = Setup {
        egress: EgressPolicy::parse(&[words.to_owned()]).unwrap(),
        servers: vec![resolver.local_addr().unwrap()],
        hosts: hosts.to_owned(),
        ..Setup::default()
    };
    (Guest::of(Network::new(setup, 1000).unwrap()), resolver)
}

fn hear_answer(guest: &mut Guest) -> Vec<u8> {
    guest.wait(|packet| match packet.body {
        Body::Udp {
            source: 53,
            payload,
            ..
        } => Some(payload.to_vec()),
        _ => None,
    })
}

/// Asks for `name`, for which the resolver gives `address`; what the guest hears.
fn look_up(guest: &mut Guest, resolver: &UdpSocket, name: &str, address: IpAddr) -> Vec<u8> {
    let asked = query(name, A);
    guest.datagram(GATEWAY_V4.into(), 53, &asked);
    let mut heard = [0; 512];
    let (len, from) = resolver.recv_from(&mut heard).unwrap();
    let told = response(&heard[..len], "alias.example", &[address], 60);
    resolver.send_to(&told, from).unwrap();
    hear_answer(guest)
}

/// Whether a segment to `to` is refused. One that is not would leave this host: nobody sends it.
fn is_refused(guest: &mut Guest, to: &str) -> bool {
    let to: SocketAddr = to.parse().unwrap();
    if guest
        .network
        .policy
        .judge(Carrier::Tcp, to, Instant::now())
        .allows
    {
        return false;
    }
    guest.segment(to.ip(), to.port(), flag::SYN, (7, 0), &[]);
    let (kind, ..) = guest.wait(|packet| super::icmp(packet.body));
    kind == icmp_type::UNREACHABLE
}

#[test]
fn without_a_rule_for_it_no_name_leaves_the_machine() {
    for words in ["none", "allow:10.0.0.0/8", "allow:a.example"] {
        let (mut guest, resolver) = guarded(words, "192.0.2.9 here\n");
        for name in ["b.example", "secret.of.the.guest.a.example", "here"] {
            for gateway in [IpAddr::V4(GATEWAY_V4), GATEWAY_V6.into()] {
                guest.datagram(gateway, 53, &query(name, A));
                let answer = hear_answer(&mut guest);
                assert_eq!(answer[..4], [0x12, 0x34, 0x81, 0x83], "{words} {name}");
            }
        }
        // What is no question, and what nobody looks into.
        guest.datagram(GATEWAY_V4.into(), 53, b"something else, said by its bytes");
        guest.segment(GATEWAY_V4.into(), 53, flag::SYN, (7, 0), &[]);
        assert_eq!(guest.wait_segment().flags, flag::RST | flag::ACK);
        resolver.set_nonblocking(true).unwrap();
        resolver.recv_from(&mut [0; 512]).unwrap_err();
    }
}

#[test]
fn a_name_that_is_allowed_is_asked_for_alone_and_opens_its_addresses() {
    let (mut guest, resolver) = guarded("allow:*.a.example:80/tcp", "");
    assert!(is_refused(&mut guest, "203.0.113.9:80"));
    let asked = query("Www.A.example", A);
    guest.datagram(GATEWAY_V4.into(), 53, &asked);
    let mut heard = [0; 512];
    let (len, from) = resolver.recv_from(&mut heard).unwrap();
    // Without what follows the question.
    assert_eq!(heard[12..len], asked[12..asked.len() - 11]);
    let address = IpAddr::from([203, 0, 113, 9]);
    let told = response(&heard[..len], "cdn.example", &[address], 60);
    resolver.send_to(&told, from).unwrap();
    assert_eq!(hear_answer(&mut guest), told);
    assert!(!is_refused(&mut guest, "203.0.113.9:80"));
    assert!(is_refused(&mut guest, "203.0.113.9:81"));
    assert!(is_refused(&mut guest, "203.0.113.10:80"));
    guest.datagram(address, 80, b"x");
    let (kind, ..) = guest.wait(|packet| super::icmp(packet.body));
    assert_eq!(kind, icmp_type::UNREACHABLE);
}

#[test]
fn an_answer_that_leads_inside_is_not_told() {
    for (words, is_told) in [
        ("public", false),
        ("allow:a.example", false),
        ("allow:a.example,allow:10.0.0.0/8:9", true),
        ("any", true),
    ] {
        let (mut guest, resolver) = guarded(words, "");
        let answer = look_up(&mut guest, &resolver, "a.example", [10, 1, 2, 3].into());
        let code = answer[3] & 15;
        assert_eq!(code, if is_told { 0 } else { 5 }, "{words}");
        assert_eq!(
            is_refused(&mut guest, "10.1.2.3:80"),
            words != "any",
            "{words}"
        );
    }
}

#[test]
fn a_name_of_the_hosts_own_file_leads_where_it_says() {
    let (mut guest, _resolver) = guarded("allow:db", "10.1.2.3 db\n127.0.0.1 db\n");
    assert!(is_refused(&mut guest, "10.1.2.3:80"));
    guest.datagram(GATEWAY_V4.into(), 53, &query("db", A));
    let answer = hear_answer(&mut guest);
    assert_eq!(answer[answer.len() - 4..], [10, 1, 2, 3]);
    assert!(!is_refused(&mut guest, "10.1.2.3:80"));
    assert!(is_refused(&mut guest, "127.0.0.1:80"));
}

#[test]
fn what_was_tried_is_written_down_with_its_name_and_why() {
    let (mut guest, resolver) = guarded("deny:*:25,allow:a.example", "");
    let address = IpAddr::from([203, 0, 113, 9]);
    look_up(&mut guest, &resolver, "a.example", address);
    guest.datagram(GATEWAY_V4.into(), 53, &query("b.example", A));
    hear_answer(&mut guest);
    look_up(&mut guest, &resolver, "a.example", [10, 1, 2, 3].into());
    guest.segment(address, 25, flag::SYN, (7, 0), &[]);
    guest.datagram([127, 0, 0, 1].into(), 9, b"x");
    let lines = guest.network.attempts.lines().iter();
    let shown: Vec<_> = lines
        .map(|line| {
            let port = line.peer.map_or(0, |peer| peer.port());
            let name = line.name.as_deref().unwrap_or_default();
            (name, port, line.count, line.verdict)
        })
        .collect();
    let verdict = |allows, why| Verdict { allows, why };
    let none = Why::Rest(Egress::None);
    assert_eq!(
        shown,
        [
            ("a.example", 0, 2, verdict(true, Why::Rule(1))),
            ("b.example", 0, 1, verdict(false, none)),
            ("a.example", 0, 1, verdict(false, Why::Rebinding)),
            ("a.example", 25, 1, verdict(false, Why::Rule(0))),
            ("", 9, 1, verdict(false, Why::Never)),
        ]
    );
}

#[test]
fn the_same_is_refused_in_both_versions_and_to_echo_requests() {
    let (mut guest, _resolver) = guarded("allow:[2001:db8::/64]:80/tcp", "");
    for (target, kind) in [
        (IpAddr::from([192, 0, 2, 1]), icmp_type::ECHO),
        ("2001:db8::1".parse().unwrap(), icmp_type::V6_ECHO),
    ] {
        guest.ping(target, kind, [0; 4], b"");
        let (answer, ..) = guest.wait(|packet| super::icmp(packet.body));
        assert!(matches!(
            answer,
            icmp_type::UNREACHABLE | icmp_type::V6_UNREACHABLE
        ));
        guest.datagram(target, 80, b"x");
        let (answer, ..) = guest.wait(|packet| super::icmp(packet.body));
        assert!(answer != icmp_type::ECHO_REPLY);
    }
}
