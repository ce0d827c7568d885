//! Connections of the guest's making.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use super::guest::{Guest, Segment};
use crate::net::link::Peer;
use crate::net::plan::GATEWAY_V4;
use crate::net::wire::flag;

/// A guest that is connected, and the far end.
fn connected() -> (Guest, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut guest = Guest::with_resolvers(vec![listener.local_addr().unwrap()]);
    let answer = guest.connect();
    assert_eq!(answer.mss, Some(65520 - 40));
    let (far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (guest, far)
}

#[test]
fn bytes_flow_both_ways() {
    let (mut guest, mut far) = connected();
    guest.say(flag::PSH, b"hello");
    let mut heard = [0; 5];
    far.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    let ack = guest.wait_segment();
    assert_eq!((ack.ack, ack.payload.len()), (guest.seq, 0));
    far.write_all(b"answer").unwrap();
    assert_eq!(guest.read(6), b"answer");
}

#[test]
fn each_direction_ends_on_its_own() {
    let (mut guest, mut far) = connected();
    guest.say(flag::FIN, b"last words");
    assert_eq!(guest.wait_segment().ack, guest.seq);
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"last words");
    far.write_all(b"still here").unwrap();
    assert_eq!(guest.read(10), b"still here");
    drop(far);
    let end = guest.wait_segment();
    assert_eq!((end.flags & flag::FIN, end.seq), (flag::FIN, guest.ack));
    guest.ack = guest.ack.wrapping_add(1);
    guest.say(0, &[]);
    guest.hears_nothing();
    // It is forgotten.
    guest.say(0, b"x");
    assert_eq!(guest.wait_segment().flags, flag::RST);
}

#[test]
fn the_far_end_may_end_first() {
    let (mut guest, mut far) = connected();
    far.write_all(b"bye").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    // The end comes with the last bytes, or behind them.
    let end = guest.until(|guest| {
        let found = guest.hear(Segment::of)?;
        (found.flags & flag::FIN != 0).then_some(found)
    });
    let len = u32::try_from(end.payload.len()).unwrap();
    assert_eq!(end.seq.wrapping_add(len), guest.ack.wrapping_add(3));
    guest.ack = guest.ack.wrapping_add(4);
    guest.say(0, b"one more");
    let mut heard = [0; 8];
    far.read_exact(&mut heard).unwrap();
    guest.say(flag::FIN, &[]);
    assert_eq!(guest.wait_segment().ack, guest.seq);
    assert_eq!(far.read(&mut heard).unwrap(), 0);
}

#[test]
fn resets_pass_in_both_directions() {
    let (mut guest, mut far) = connected();
    let (seq, ack) = (guest.seq, guest.ack);
    // Not the next byte: somebody guesses.
    guest.segment(
        GATEWAY_V4.into(),
        53,
        flag::RST,
        (seq.wrapping_add(5), ack),
        &[],
    );
    guest.say(0, b"x");
    far.read_exact(&mut [0]).unwrap();
    let seq = guest.seq;
    guest.segment(GATEWAY_V4.into(), 53, flag::RST, (seq, ack), &[]);
    let error = far.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let (mut guest, far) = connected();
    guest.say(0, b"never read");
    assert_eq!(guest.wait_segment().ack, guest.seq);
    // Closing with unread data resets.
    drop(far);
    let reset = guest.until(|guest| {
        let segment = guest.hear(Segment::of)?;
        (segment.flags & flag::RST != 0).then_some(segment)
    });
    assert_eq!(reset.seq, guest.ack);
}

#[test]
fn a_refused_connection_is_refused_to_the_guest() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let mut guest = Guest::with_resolvers(vec![nobody]);
    guest.segment(GATEWAY_V4.into(), 53, flag::SYN, (7, 0), &[]);
    let reset = guest.wait_segment();
    assert_eq!((reset.flags, reset.ack), (flag::RST | flag::ACK, 8));
}

#[test]
fn a_megabyte_each_way_arrives_as_it_left() {
    let (mut guest, far) = connected();
    let sent: Vec<u8> = (0..1_000_000u32)
        .map(|n| (n % 251).to_le_bytes()[0])
        .collect();
    guest.exchange(&far, &sent);
}

#[test]
fn no_more_than_the_guests_window_is_sent() {
    let (mut guest, mut far) = connected();
    guest.window = 1500;
    guest.say(0, &[]);
    far.write_all(&[7; 5000]).unwrap();
    let first = guest.wait_segment();
    assert_eq!(first.payload.len(), 1000);
    guest.hears_nothing();
    // Half a segment would fit; a closed window takes nothing.
    guest.window = 0;
    guest.ack = guest.ack.wrapping_add(1000);
    guest.say(0, &[]);
    guest.hears_nothing();
    // After a second it is asked whether it is still closed.
    let probe = guest.wait_segment();
    assert_eq!(
        (probe.seq, probe.payload.len()),
        (guest.ack.wrapping_sub(1), 0)
    );
    guest.window = 60000;
    guest.say(0, &[]);
    assert_eq!(guest.read(4000), [7; 4000]);
}

#[test]
fn what_the_guest_misses_is_sent_again() {
    let (mut guest, mut far) = connected();
    far.write_all(&[9; 3000]).unwrap();
    guest.until(|guest| {
        let segment = guest.hear(Segment::of)?;
        (segment.seq == guest.ack.wrapping_add(2000)).then_some(())
    });
    // The first one was lost: the others are acknowledged with its number.
    for _ in 0..3 {
        guest.say(0, &[]);
    }
    let again = guest.wait_segment();
    assert_eq!((again.seq, again.payload.len()), (guest.ack, 1000));
    // Everything was lost: a second later it comes without being asked for.
    guest.until(|guest| {
        let segment = guest.hear(Segment::of)?;
        (segment.seq == guest.ack).then_some(())
    });
    assert_eq!(guest.read(3000), [9; 3000]);
}

#[test]
fn what_overtakes_is_dropped_and_asked_for_again() {
    let (mut guest, mut far) = connected();
    let (seq, ack) = (guest.seq, guest.ack);
    guest.segment(
        GATEWAY_V4.into(),
        53,
        flag::ACK,
        (seq.wrapping_add(3), ack),
        b"def",
    );
    let answer = guest.wait_segment();
    assert_eq!(answer.ack, seq);
    guest.say(0, b"abc");
    // Half of it is known.
    guest.segment(
        GATEWAY_V4.into(),
        53,
        flag::ACK,
        (seq.wrapping_add(1), ack),
        b"bcdef",
    );
    let mut heard = [0; 6];
    far.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"abcdef");
}

#[test]
fn a_far_end_that_does_not_read_closes_the_window() {
    let (mut guest, far) = connected();
    let chunk = [1; 1000];
    let mut granted = guest.seq.wrapping_add(60_000);
    let mut sent = 0u32;
    // What sockets of the host keep is some megabytes; what waits here has a limit of its own.
    loop {
        if granted.wrapping_sub(guest.seq) < 1000 || granted.wrapping_sub(guest.seq) > 1 << 31 {
            guest.network.poll().unwrap();
            let Some(segment) = guest.hear(Segment::of) else {
                break;
            };
            let window = u32::from(segment.window) << 5;
            granted = segment.ack.wrapping_add(window);
            continue;
        }
        guest.say(0, &chunk);
        sent += 1000;
        assert!(sent < 64 << 20, "the window never closes");
    }
    drop(far);
}
