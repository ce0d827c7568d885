//! Rules by name: what the guest is told by the resolver, and where it gets by that.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use super::guest::{Guest, Segment};
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
        // By TCP it is the same.
        guest.connect();
        let answer = ask_by_tcp(&mut guest, &query("b.example", A));
        assert_eq!(answer[..4], [0x12, 0x34, 0x81, 0x83], "{words}");
        // What is no question, either way: the connection ends.
        guest.datagram(GATEWAY_V4.into(), 53, b"something else, said by its bytes");
        guest.say(flag::PSH, b"\0\x0esomething else");
        guest.until(|guest| (guest.hear(Segment::of)?.flags & flag::FIN != 0).then_some(()));
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

/// Says a query over the guest's connection; what it is answered.
fn ask_by_tcp(guest: &mut Guest, query: &[u8]) -> Vec<u8> {
    let len = u16::try_from(query.len()).unwrap().to_be_bytes();
    guest.say(flag::PSH, &[&len[..], query].concat());
    let mut answer = guest.read(2);
    let whole = 2 + usize::from(u16::from_be_bytes([answer[0], answer[1]]));
    while answer.len() < whole {
        answer.extend(guest.read(1));
    }
    answer.split_off(2)
}

/// The next message over a connection.
fn hear_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut message = vec![0; u16::from_be_bytes(len).into()];
    stream.read_exact(&mut message).unwrap();
    message
}

#[test]
fn queries_by_tcp_are_answered_as_those_by_datagrams() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: IpAddr = [203, 0, 113, 9].into();
    let inside: IpAddr = [10, 1, 2, 3].into();
    for (words, is_guarded) in [("any", false), ("allow:*.example:80/tcp", true)] {
        // Nobody is at the first: the second is asked.
        let nobody = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let setup = Setup {
            egress: EgressPolicy::parse(&[words.to_owned()]).unwrap(),
            servers: vec![nobody, listener.local_addr().unwrap()],
            hosts: "192.0.2.9 here.example\n".to_owned(),
            ..Setup::default()
        };
        let mut guest = Guest::of(Network::new(setup, 1000).unwrap());
        let answers = listener.try_clone().unwrap();
        let resolver = thread::spawn(move || {
            for address in [address, inside] {
                let (mut stream, _) = answers.accept().unwrap();
                let asked = hear_message(&mut stream);
                // More than any datagram has.
                let mut told = response(&asked, "alias.example", &[address; 200], 60);
                told[6..8].copy_from_slice(&201_u16.to_be_bytes());
                let len = u16::try_from(told.len()).unwrap().to_be_bytes();
                stream.write_all(&[&len[..], &told].concat()).unwrap();
            }
            // Its last one says nothing.
            drop(answers.accept().unwrap());
        });
        guest.connect();
        let own = ask_by_tcp(&mut guest, &query("here.example", A));
        assert_eq!(own[own.len() - 4..], [192, 0, 2, 9], "{words}");
        let answer = ask_by_tcp(&mut guest, &query("a.example", A));
        assert!(answer.len() > 3000 && answer[3] & 15 == 0, "{words}");
        let answer = ask_by_tcp(&mut guest, &query("b.example", A));
        let code = if is_guarded { 5 } else { 0 };
        assert_eq!(answer[3] & 15, code, "{words}: what leads inside");
        // It fails, and so does everybody else: that is the answer.
        let answer = ask_by_tcp(&mut guest, &query("c.example", A));
        assert_eq!(answer[3] & 15, 2, "{words}");
        resolver.join().unwrap();
        guest.say(flag::FIN, &[]);
        guest.until(|guest| (guest.hear(Segment::of)?.flags & flag::FIN != 0).then_some(()));
    }
}

#[test]
fn connections_for_queries_are_few_and_not_for_ever() {
    let mut guest = Guest::alone();
    for port in 0..64 {
        guest.port = 5000 + port;
        guest.segment(GATEWAY_V4.into(), 53, flag::SYN, (7, 0), &[]);
        assert_eq!(guest.wait_own().flags, flag::SYN | flag::ACK, "{port}");
    }
    guest.port = 6000;
    guest.segment(GATEWAY_V4.into(), 53, flag::SYN, (7, 0), &[]);
    assert_eq!(guest.wait_own().flags, flag::RST | flag::ACK);
}
