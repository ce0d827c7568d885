//! What is written is read again, and what a guest writes is read without harm, whatever it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::net::link::{ETHERNET_LEN, Frame};

const FROM: Mac = [2, 0, 0, 0, 0, 1];
const TO: Mac = [2, 0, 0, 0, 0, 2];

fn at(v6: bool) -> Addressed {
    let (source, target): (IpAddr, IpAddr) = match v6 {
        false => (
            Ipv4Addr::new(10, 1, 2, 3).into(),
            Ipv4Addr::new(192, 168, 255, 1).into(),
        ),
        true => (
            Ipv6Addr::new(0xfd00, 1, 2, 3, 4, 5, 6, 7).into(),
            Ipv6Addr::LOCALHOST.into(),
        ),
    };
    Addressed {
        from: FROM,
        to: TO,
        source,
        target,
    }
}

/// The checksum that is in a finished frame makes the sum of everything, pseudo header included, zero.
fn is_summed(frame: &Frame, at: &Addressed, protocol: u8) -> bool {
    let header = if at.source.is_ipv4() {
        IPV4_LEN
    } else {
        IPV6_LEN
    };
    let body = &frame.bytes[ETHERNET_LEN + header..];
    let begun = match protocol {
        PROTOCOL_ICMP => 0,
        _ => pseudo_sum(at.source, at.target, protocol, body.len()),
    };
    let packet = &frame.bytes[ETHERNET_LEN..ETHERNET_LEN + header];
    let header_is_summed = at.source.is_ipv6() || checksum(0, packet) == 0;
    header_is_summed && checksum(begun.into(), body) == 0
}

fn parsed(frame: &Frame) -> Packet<'_> {
    match parse(&frame.bytes) {
        Some(Parsed::Ip(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_checksum_is_that_of_rfc_1071() {
    assert_eq!(
        checksum(0, &[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]),
        !0xddf2
    );
    assert_eq!(checksum(0, &[0xff]), !0xff00);
    assert_eq!(checksum(0, &[]), 0xffff);
}

#[test]
fn arp_requests_are_answered_with_the_address_asked_for() {
    let mut request = vec![0xff; 6];
    request.extend(TO);
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(TO);
    request.extend([10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
    let Some(Parsed::Arp(asked)) = parse(&request) else {
        panic!("an ARP request");
    };
    assert_eq!((asked.mac, asked.target), (TO, Ipv4Addr::new(10, 0, 0, 1)));
    let mut answer = Frame::default();
    write_arp(&mut answer, FROM, &asked);
    let bytes = answer.bytes;
    assert_eq!((&bytes[..6], &bytes[6..12]), (&TO[..], &FROM[..]));
    assert_eq!(bytes[20..22], [0, 2], "a reply");
    assert_eq!(
        (&bytes[22..28], &bytes[28..32]),
        (&FROM[..], &[10, 0, 0, 1][..])
    );
    assert_eq!(
        (&bytes[32..38], &bytes[38..42]),
        (&TO[..], &[10, 0, 0, 2][..])
    );
}

#[test]
fn fragments_and_foreign_frames_are_nothing() {
    let mut frame = Frame::default();
    write_udp(&mut frame, &at(false), (1, 2), b"data");
    let whole = frame.bytes.clone();
    for (place, value) in [(20, 0x20), (21, 1), (12, 0x86), (14, 0x55), (14, 0x44)] {
        let mut changed = whole.clone();
        changed[place] = value;
        assert_eq!(parse(&changed), None, "byte {place}");
    }
    for len in 0..whole.len() {
        assert_eq!(parse(&whole[..len]), None, "{len} bytes");
    }
}

proptest! {
    #[test]
    fn segments_survive(
        v6: bool, source: u16, target: u16, seq: u32, ack: u32, flags in 0..32u8, window: u16,
        mss: Option<u16>, shift: Option<u8>, payload in vec(any::<u8>(), 0..300), cut in 0..300usize,
    ) {
        let segment = Tcp { source, target, seq, ack, flags, window, mss, shift, payload: &[] };
        let (at, mut frame) = (at(v6), Frame::default());
        let cut = cut.min(payload.len());
        write_tcp(&mut frame, &at, &segment, payload.split_at(cut));
        let expected = Tcp { payload: &payload, ..segment };
        let packet = parsed(&frame);
        prop_assert_eq!(packet.body, Body::Tcp(expected));
        prop_assert_eq!((packet.source, packet.target, packet.mac), (at.source, at.target, FROM));
        frame.finish();
        prop_assert!(is_summed(&frame, &at, PROTOCOL_TCP));
    }

    #[test]
    fn datagrams_survive(v6: bool, source: u16, target: u16, data in vec(any::<u8>(), 0..300)) {
        let (at, mut frame) = (at(v6), Frame::default());
        write_udp(&mut frame, &at, (source, target), &data);
        prop_assert_eq!(parsed(&frame).body, Body::Udp { source, target, payload: &data });
        frame.finish();
        prop_assert!(is_summed(&frame, &at, PROTOCOL_UDP));
    }

    #[test]
    fn messages_survive(v6: bool, kind: u8, rest: [u8; 4], data in vec(any::<u8>(), 0..300)) {
        let (at, mut frame) = (at(v6), Frame::default());
        write_icmp(&mut frame, &at, (kind, 7), rest, &data);
        prop_assert_eq!(parsed(&frame).body, Body::Icmp { kind, rest, payload: &data });
        let protocol = if v6 { PROTOCOL_ICMPV6 } else { PROTOCOL_ICMP };
        prop_assert!(is_summed(&frame, &at, protocol));
    }

    #[test]
    fn whatever_comes_is_read_without_harm(bytes in vec(any::<u8>(), 0..200)) {
        let _something = parse(&bytes);
    }

    #[test]
    fn whatever_almost_makes_sense_is_read_without_harm(
        v6: bool, places in vec((0..90usize, any::<u8>()), 1..8), len in 0..90usize,
    ) {
        let segment = Tcp { mss: Some(1), shift: Some(2), ..Tcp::default() };
        let mut frame = Frame::default();
        write_tcp(&mut frame, &at(v6), &segment, (b"some data", &[]));
        for (place, value) in places {
            if let Some(byte) = frame.bytes.get_mut(place) {
                *byte = value;
            }
        }
        frame.bytes.truncate(len);
        let _something = parse(&frame.bytes);
    }
}
