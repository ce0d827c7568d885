//! Who comes by a port of the host's.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::guest::{Guest, Segment};
use crate::net::plan::GATEWAY_V4;
use crate::net::wire::{Body, flag};
use crate::net::{Door, Network, Setup};
use crate::spec::Transport;

/// A guest whose port 80 is reached, and where.
fn published() -> (Guest, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let door = Door::new(listener.into(), 80, Transport::Tcp);
    let setup = Setup {
        doors: vec![door],
        ..Setup::default()
    };
    (Guest::of(Network::new(setup, 1000).unwrap()), address)
}

/// The guest answers the SYN of a client by a segment of number 500, with `flags` and an acknowledgement; which.
fn answer(guest: &mut Guest, syn: &Segment, flags: u8) -> u32 {
    guest.port = 80;
    let ack = syn.seq.wrapping_add(1);
    guest.segment(
        GATEWAY_V4.into(),
        syn.source,
        flags | flag::ACK,
        (500, ack),
        &[],
    );
    ack
}

#[test]
fn a_client_is_connected_to_the_guest() {
    let (mut guest, address) = published();
    let mut client = TcpStream::connect(address).unwrap();
    let syn = guest.wait_segment();
    let own = client.local_addr().unwrap();
    assert_eq!(
        (syn.flags, syn.target, syn.source),
        (flag::SYN, 80, own.port())
    );
    assert_eq!(syn.from, GATEWAY_V4, "nobody is 127.0.0.1 on the cable");
    let (peer, ack) = (syn.source, answer(&mut guest, &syn, flag::SYN));
    assert_eq!(guest.wait_segment().ack, 501);
    client.write_all(b"GET").unwrap();
    let request = guest.wait_segment();
    assert_eq!(request.payload, b"GET");
    let ack = ack.wrapping_add(3);
    let last = flag::ACK | flag::FIN;
    guest.segment(GATEWAY_V4.into(), peer, last, (501, ack), b"page");
    assert_eq!(guest.wait_segment().ack, 506);
    let mut page = String::new();
    client.read_to_string(&mut page).unwrap();
    assert_eq!(page, "page");
}

#[test]
fn a_guest_with_nobody_at_the_port_ends_the_client() {
    let (mut guest, address) = published();
    let mut client = TcpStream::connect(address).unwrap();
    let syn = guest.wait_segment();
    guest.port = 80;
    let ack = syn.seq.wrapping_add(1);
    let refused = flag::RST | flag::ACK;
    guest.segment(GATEWAY_V4.into(), syn.source, refused, (0, ack), &[]);
    assert!(client.read(&mut [0]).map_or(true, |count| count == 0));
}

#[test]
fn a_guest_that_is_not_up_yet_is_called_again() {
    let (mut guest, address) = published();
    let _client = TcpStream::connect(address).unwrap();
    let (first, second) = (guest.wait_segment(), guest.wait_segment());
    assert_eq!(
        Segment { window: 0, ..first },
        Segment {
            window: 0,
            ..second
        }
    );
}

#[test]
fn a_crowd_comes_in_as_the_guest_answers() {
    let (mut guest, address) = published();
    let _clients = [(); 100].map(|()| TcpStream::connect(address).unwrap());
    let calls = std::iter::from_fn(|| guest.wait_at_most(Duration::from_millis(300)));
    let calls: Vec<_> = calls.collect();
    assert_eq!(calls.len(), 64, "as many as it may leave unanswered");
    // One is connected and one is refused: two more come in.
    for (call, flags) in calls.iter().zip([flag::SYN, flag::RST]) {
        answer(&mut guest, call, flags);
    }
    let known: HashSet<_> = calls.iter().map(|call| call.source).collect();
    for _ in 0..2 {
        guest.wait(|packet| match packet.body {
            Body::Tcp(segment) if segment.flags == flag::SYN => {
                (!known.contains(&segment.source)).then_some(())
            }
            _ => None,
        });
    }
}

#[test]
fn a_guest_that_may_not_have_heard_is_told_again() {
    let (mut guest, address) = published();
    let mut client = TcpStream::connect(address).unwrap();
    let syn = guest.wait_segment();
    let ack = answer(&mut guest, &syn, flag::SYN);
    let (first, second) = (guest.wait_segment(), guest.wait_segment());
    assert_eq!((first.flags, first.ack), (flag::ACK, 501));
    assert_eq!(first, second);
    // It speaks first, and is not told any more.
    let says = flag::ACK | flag::PSH;
    guest.segment(GATEWAY_V4.into(), syn.source, says, (501, ack), b"hi");
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!((&greeting, guest.wait_segment().ack), (b"hi", 503));
    assert_eq!(guest.wait_at_most(Duration::from_millis(2500)), None);
}

#[test]
fn datagrams_come_in_and_answers_go_to_who_asked() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let door = Door::new(socket.into(), 53, Transport::Udp);
    let setup = Setup {
        doors: vec![door],
        ..Setup::default()
    };
    let mut guest = Guest::of(Network::new(setup, 1000).unwrap());
    guest.port = 53;
    let clients = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    for (client, text) in clients.iter().zip(["one", "two"]) {
        client.send_to(text.as_bytes(), address).unwrap();
    }
    for _ in &clients {
        let (port, text) = guest.wait(|packet| match packet.body {
            Body::Udp {
                source, payload, ..
            } => Some((source, payload.to_vec())),
            _ => None,
        });
        guest.datagram(GATEWAY_V4.into(), port, &text.repeat(2));
    }
    for (client, text) in clients.iter().zip(["oneone", "twotwo"]) {
        let mut answer = [0; 20];
        let (len, from) = client.recv_from(&mut answer).unwrap();
        assert_eq!((&answer[..len], from), (text.as_bytes(), address));
    }
}
