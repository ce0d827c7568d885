//! The socket device.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::driver::{BUFFERS, Driver, readable, writable};
use crate::devices::virtio::registers as reg;
use crate::devices::virtio::vsock::packet::{HEADER_LEN, Header, TYPE_STREAM, op};
use crate::devices::virtio::vsock::{Connector, Vsock};

const RX: usize = 0;
const TX: usize = 1;
const SENT: u64 = BUFFERS;
const RECEIVED: u64 = BUFFERS + 0x8_0000;
const SLOT: u32 = 0x1_1000;
/// Bytes of a header.
const HEADER: u32 = 44;

/// Gives the test the other end of every connection to port 1024.
struct Ends(Sender<UnixStream>);

impl Connector for Ends {
    fn connect(&self, port: u32) -> io::Result<UnixStream> {
        if port != 1024 {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = UnixStream::pair()?;
        self.0.send(theirs).map_err(io::Error::other)?;
        Ok(ours)
    }
}

struct Guest {
    driver: Driver,
    /// Bytes of each buffer that it receives into.
    slot: u32,
    ends: Receiver<UnixStream>,
}

impl Guest {
    fn new() -> Self {
        Self::with_buffers(SLOT)
    }

    fn with_buffers(slot: u32) -> Self {
        let (sender, ends) = channel();
        let driver = Driver::ready(Vsock::new(Box::new(Ends(sender))).unwrap());
        let mut guest = Self { driver, slot, ends };
        (0..8).for_each(|slot| guest.give(slot));
        guest.driver.notify(RX);
        guest
    }

    fn give(&mut self, slot: u16) {
        let at = RECEIVED + u64::from(SLOT) * u64::from(slot);
        self.driver.offer(RX, slot, &[writable(at, self.slot)]);
    }

    fn header(op: u16, len: usize) -> Header {
        Header {
            src_cid: 3,
            dst_cid: 2,
            src_port: 50,
            dst_port: 1024,
            len: u32::try_from(len).unwrap(),
            kind: TYPE_STREAM,
            op,
            buf_alloc: 1000,
            ..Header::default()
        }
    }

    fn send(&mut self, header: &Header, data: &[u8]) {
        self.driver.put(SENT, &header.encode());
        self.driver.put(SENT + HEADER_LEN as u64, data);
        let len = u32::try_from(HEADER_LEN + data.len()).unwrap();
        self.driver.offer(TX, 0, &[readable(SENT, len)]);
        self.driver.notify(TX);
        self.driver.used(TX);
    }

    /// What came since the last time.
    fn received(&mut self) -> Vec<(Header, Vec<u8>)> {
        self.driver.transport.poll();
        let used = self.driver.used(RX);
        let packets = used.iter().map(|(head, len)| {
            let at = RECEIVED + u64::from(SLOT) * u64::from(*head);
            let bytes = self.driver.get(at, usize::try_from(*len).unwrap());
            let header = Header::decode(bytes[..HEADER_LEN].try_into().unwrap());
            (header, bytes[HEADER_LEN..].to_vec())
        });
        let packets = packets.collect();
        for (head, _) in used {
            self.give(u16::try_from(head).unwrap());
        }
        self.driver.notify(RX);
        packets
    }

    fn ops(&mut self) -> Vec<u16> {
        self.received()
            .iter()
            .map(|(header, _)| header.op)
            .collect()
    }

    fn connect(&mut self) -> UnixStream {
        self.send(&Self::header(op::REQUEST, 0), &[]);
        assert_eq!(self.ops(), [op::RESPONSE]);
        self.ends.try_recv().unwrap()
    }
}

#[test]
fn bytes_flow_both_ways() {
    let mut guest = Guest::new();
    let mut end = guest.connect();
    guest.send(&Guest::header(op::RW, 5), b"hello");
    let mut heard = [0; 5];
    end.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    end.write_all(b"answer").unwrap();
    let received = guest.received();
    assert_eq!(
        (received[0].0.op, received[0].1.as_slice()),
        (op::RW, &b"answer"[..])
    );
}

#[test]
fn the_host_sends_no_more_than_the_guests_credit() {
    let mut guest = Guest::new();
    let mut end = guest.connect();
    end.write_all(&[7; 1500]).unwrap();
    let count =
        |packets: Vec<(Header, Vec<u8>)>| packets.iter().map(|(_, data)| data.len()).sum::<usize>();
    assert_eq!(count(guest.received()), 1000);
    assert_eq!(count(guest.received()), 0);
    let mut credit = Guest::header(op::CREDIT_UPDATE, 0);
    credit.fwd_cnt = 1000;
    guest.send(&credit, &[]);
    assert_eq!(count(guest.received()), 500);
}

#[test]
fn what_a_socket_has_fills_many_buffers_in_order_and_waits_for_more() {
    let room = 100;
    let mut guest = Guest::with_buffers(HEADER + room);
    let mut end = guest.connect();
    let bytes: Vec<u8> = (0..=250).cycle().take(950).collect();
    end.write_all(&bytes).unwrap();
    // The answer to the request took the first of eight, which is back behind the others.
    let first = guest.received();
    assert_eq!(first.len(), 8);
    let rest = guest.received();
    let packets: Vec<_> = first.iter().chain(&rest).collect();
    assert!(packets.iter().all(|(header, _)| header.op == op::RW));
    let lengths: Vec<_> = packets.iter().map(|(header, _)| header.len).collect();
    assert_eq!(lengths, [vec![room; 9], vec![50]].concat());
    let heard: Vec<u8> = packets.iter().flat_map(|(_, data)| data.clone()).collect();
    assert_eq!(heard, bytes);
    assert!(guest.received().is_empty());
    end.write_all(b"x").unwrap();
    assert_eq!(guest.received()[0].1, b"x");
}

#[test]
fn the_last_bytes_come_before_the_end_that_came_with_them() {
    for hang_up in [false, true] {
        let mut guest = Guest::new();
        let mut end = guest.connect();
        end.write_all(b"last").unwrap();
        let _end = match hang_up {
            true => {
                drop(end);
                None
            }
            false => {
                end.shutdown(Shutdown::Write).unwrap();
                Some(end)
            }
        };
        let said: Vec<_> = [guest.received(), guest.received()].concat();
        let at = |wanted| said.iter().position(|(header, _)| header.op == wanted);
        assert_eq!(said[at(op::RW).unwrap()].1, b"last");
        let closed = said.iter().rfind(|(header, _)| header.op == op::SHUTDOWN);
        assert_eq!(closed.unwrap().0.flags & 2, 2);
        assert!(
            said[at(op::RW).unwrap()..]
                .iter()
                .any(|(header, _)| header.op == op::SHUTDOWN)
        );
    }
}

#[test]
fn buffers_that_were_taken_in_advance_are_the_drivers_again_after_a_reset() {
    let mut guest = Guest::with_buffers(HEADER + 100);
    let mut end = guest.connect();
    end.write_all(b"x").unwrap();
    assert_eq!(guest.received().len(), 1);
    guest.driver.restart();
    (0..8).for_each(|slot| guest.give(slot));
    guest.driver.notify(RX);
    let mut end = guest.connect();
    end.write_all(&[7; 700]).unwrap();
    assert_eq!(guest.received().len(), 7);
}

#[test]
fn a_guest_that_overruns_our_credit_is_reset() {
    let mut guest = Guest::new();
    let end = guest.connect();
    let data = vec![1; 60 << 10];
    let mut reset = false;
    // The Unix socket and our buffer take some; nobody reads, so they fill.
    for _ in 0..40 {
        guest.send(&Guest::header(op::RW, data.len()), &data);
        reset = reset || guest.ops().contains(&op::RST);
    }
    assert!(reset);
    drop(end);
}

#[test]
fn ends_pass_in_both_directions() {
    let mut guest = Guest::new();
    let mut end = guest.connect();
    end.shutdown(Shutdown::Write).unwrap();
    let received = guest.received();
    assert_eq!((received[0].0.op, received[0].0.flags), (op::SHUTDOWN, 2));
    let mut shutdown = Guest::header(op::SHUTDOWN, 0);
    shutdown.flags = 2;
    guest.send(&shutdown, &[]);
    assert_eq!(end.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(guest.ops(), [op::RST]);
}

#[test]
fn a_host_end_that_is_gone_closes_the_guests_stream() {
    let mut guest = Guest::new();
    drop(guest.connect());
    let flags = guest
        .received()
        .iter()
        .filter(|(h, _)| h.op == op::SHUTDOWN)
        .map(|(h, _)| h.flags)
        .max();
    assert_eq!(flags, Some(3));
}

#[test]
fn what_makes_no_sense_is_reset_and_connections_are_limited() {
    let mut guest = Guest::new();
    let mut strange = Guest::header(op::RW, 0);
    strange.src_cid = 99;
    let mut datagram = Guest::header(op::REQUEST, 0);
    datagram.kind = 2;
    let mut elsewhere = Guest::header(op::REQUEST, 0);
    elsewhere.dst_port = 22;
    for header in [
        strange,
        datagram,
        elsewhere,
        Guest::header(op::RW, 0),
        Guest::header(77, 0),
    ] {
        guest.send(&header, &[]);
        assert_eq!(guest.ops(), [op::RST], "{header:?}");
    }
    let mut refused = 0;
    for port in 0..300 {
        let mut request = Guest::header(op::REQUEST, 0);
        request.src_port = port;
        guest.send(&request, &[]);
        refused += guest.ops().iter().filter(|op| **op == op::RST).count();
    }
    assert_eq!(refused, 300 - 256);
}

#[test]
fn a_packet_that_claims_more_than_it_has_needs_a_reset() {
    let mut guest = Guest::new();
    guest.send(&Guest::header(op::RW, 100), &[]);
    assert_ne!(guest.driver.read(reg::STATUS) & reg::NEEDS_RESET, 0);
    let mut guest = Guest::new();
    let mut huge = Guest::header(op::RW, 0);
    huge.len = u32::MAX;
    guest.send(&huge, &[]);
    assert_ne!(guest.driver.read(reg::STATUS) & reg::NEEDS_RESET, 0);
}
