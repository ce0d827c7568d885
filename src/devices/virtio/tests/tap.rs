//! The network device with a TAP interface at its other end: here a socket, which takes and gives whole messages, too.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::driver::{BUFFERS, Driver, readable, writable};
use super::net::{begin, until, used};
use crate::devices::virtio::net::{Net, Tap};
use crate::devices::virtio::registers as reg;

const RX: usize = 0;
const TX: usize = 1;
const HEADER: usize = 12;

/// VIRTIO_NET_F_MRG_RXBUF; what the driver leaves to us, a socket would not be asked.
const MERGING: u32 = 1 << 15;

fn ready(features: u32) -> (Driver, UnixDatagram) {
    let (interface, tap) = UnixDatagram::pair().unwrap();
    tap.set_nonblocking(true).unwrap();
    let timeout = Some(Duration::from_secs(10));
    interface.set_read_timeout(timeout).unwrap();
    (
        begin(Net::new(Tap::new(tap.into())).unwrap(), features),
        interface,
    )
}

/// A header of a large frame to be cut, and its bytes.
fn large() -> Vec<u8> {
    let header = [1, 1, 54, 0, 160, 5, 34, 0, 16, 0, 0xee, 0xee];
    let frame = (0..=255u8).cycle().take(5000);
    header.into_iter().chain(frame).collect()
}

fn received(interface: &UnixDatagram) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 17];
    let len = interface.recv(&mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

#[test]
fn segments_are_left_to_be_cut_both_ways() {
    let (tap, _interface) = UnixDatagram::pair().unwrap();
    let mut driver = Driver::new(Net::new(Tap::new(tap.into())).unwrap());
    driver.write(reg::DEVICE_FEATURES_SEL, 0);
    let offered = driver.read(reg::DEVICE_FEATURES);
    for bit in [0, 1, 7, 8, 9, 11, 12, 13, 15] {
        assert!(offered & 1 << bit != 0, "feature {bit}");
    }
}

#[test]
fn a_frame_leaves_with_its_header_from_where_it_lies() {
    let (mut driver, interface) = ready(MERGING);
    let bytes = large();
    driver.put(BUFFERS, &bytes[..2000]);
    driver.put(BUFFERS + 0x2000, &bytes[2000..]);
    let rest = u32::try_from(bytes.len() - 2000).unwrap();
    let chain = [readable(BUFFERS, 2000), readable(BUFFERS + 0x2000, rest)];
    driver.offer(TX, 0, &chain);
    driver.notify(TX);
    assert_eq!(received(&interface), bytes);
    assert_eq!(used(&mut driver, TX, 1), [(0, 0)]);
    // Too long for any frame, and then one that is none.
    driver.offer(TX, 0, &[readable(BUFFERS, 70_000)]);
    driver.offer(TX, 1, &[readable(BUFFERS, 64)]);
    driver.notify(TX);
    assert_eq!(received(&interface), bytes[..64]);
}

#[test]
fn a_frame_arrives_in_as_many_buffers_as_it_needs() {
    // With the last one the longest frame fits, and this one is not copied; without it might not.
    for lens in [&[2000, 2000, 2000][..], &[2000, 2000, 2000, 64_000]] {
        let (mut driver, interface) = ready(MERGING);
        for (slot, len) in (0..).zip(lens) {
            let at = BUFFERS + 0x1000 * u64::from(slot);
            let chain = [writable(at, 500), writable(at + 500, len - 500)];
            driver.offer(RX, 2 * slot, &chain);
        }
        driver.notify(RX);
        let mut bytes = large();
        interface.send(&bytes).unwrap();
        let shown = used(&mut driver, RX, 3);
        assert_eq!(shown, [(0, 2000), (2, 2000), (4, 1012)], "{lens:?}");
        assert!(driver.interrupted());
        bytes[10..HEADER].copy_from_slice(&[3, 0]);
        let mut got = driver.get(BUFFERS, 2000);
        got.extend(driver.get(BUFFERS + 0x1000, 2000));
        got.extend(driver.get(BUFFERS + 0x2000, 1012));
        assert!(got == bytes, "{lens:?}");
    }
}

#[test]
fn a_frame_waits_for_buffers_or_is_lost_where_it_gets_one_only() {
    let (mut driver, interface) = ready(MERGING);
    driver.offer(RX, 0, &[writable(BUFFERS, 3000)]);
    driver.notify(RX);
    interface.send(&large()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(driver.used(RX), []);
    driver.offer(RX, 1, &[writable(BUFFERS + 0x1000, 3000)]);
    driver.notify(RX);
    assert_eq!(used(&mut driver, RX, 2), [(0, 3000), (1, 2012)]);

    let (mut driver, interface) = ready(0);
    driver.offer(RX, 0, &[writable(BUFFERS, 3000)]);
    driver.notify(RX);
    interface.send(&large()).unwrap();
    interface.send(&large()[..100]).unwrap();
    assert_eq!(used(&mut driver, RX, 1), [(0, 100)]);
}

#[test]
fn a_long_frame_behind_short_ones_is_whole() {
    let (mut driver, interface) = ready(MERGING);
    // The last one is what makes room for the longest; the first stretch is shorter than its buffer.
    let lens = [2000, 2000, 2000, 64_000];
    let offer = |driver: &mut Driver, slots: &[u16]| {
        for slot in slots {
            let at = BUFFERS + 0x1_0000 * u64::from(*slot);
            let chain = [
                writable(at, 500),
                writable(at + 500, lens[usize::from(*slot)] - 500),
            ];
            driver.offer(RX, 2 * slot, &chain);
        }
        driver.notify(RX);
    };
    offer(&mut driver, &[0, 1, 2, 3]);
    for _ in 0..5 {
        for slot in 0..4 {
            interface.send(&large()[..64]).unwrap();
            assert_eq!(used(&mut driver, RX, 1), [(2 * slot, 64)]);
            offer(&mut driver, &[u16::try_from(slot).unwrap()]);
        }
    }
    let mut bytes = large();
    interface.send(&bytes).unwrap();
    let shown = used(&mut driver, RX, 3);
    assert_eq!(shown, [(0, 2000), (2, 2000), (4, 1012)]);
    bytes[10..HEADER].copy_from_slice(&[3, 0]);
    let mut got = driver.get(BUFFERS, 2000);
    got.extend(driver.get(BUFFERS + 0x1_0000, 2000));
    got.extend(driver.get(BUFFERS + 0x2_0000, 1012));
    assert!(got == bytes);
}

#[test]
fn however_many_frames_come_at_once_all_of_them_arrive() {
    let (mut driver, interface) = ready(MERGING);
    // One at a time for long enough to be expected, then more, and fewer again.
    let bursts = [1; 20].into_iter().chain([5, 1, 12, 12, 12]).chain([1; 10]);
    for (turn, count) in bursts.enumerate() {
        for slot in 0..count {
            let at = BUFFERS + 0x1000 * u64::from(slot);
            driver.offer(RX, slot, &[writable(at, 2000)]);
        }
        driver.notify(RX);
        for _ in 0..count {
            interface.send(&large()[..64]).unwrap();
        }
        let all = used(&mut driver, RX, count.into());
        assert_eq!(all.len(), usize::from(count), "turn {turn}");
        assert!(all.iter().all(|(_, len)| *len == 64));
    }
}

#[test]
fn frames_go_both_ways_at_a_time_whether_answers_are_there_at_once_or_later() {
    let (mut driver, interface) = ready(MERGING);
    driver.put(BUFFERS + 0x8000, &[7; 64]);
    for turn in 0..60u32 {
        for slot in 0..2 {
            let at = BUFFERS + 0x1000 * u64::from(slot);
            driver.offer(RX, slot, &[writable(at, 2000)]);
        }
        driver.offer(TX, 0, &[readable(BUFFERS + 0x8000, 64)]);
        // Before it is sent, after it was sent, and both.
        let (early, late) = (turn % 3 != 1, turn % 3 != 0);
        if early {
            interface.send(&large()[..64]).unwrap();
        }
        driver.notify(TX);
        assert_eq!(received(&interface), [7; 64]);
        if late {
            interface.send(&large()[..64]).unwrap();
        }
        let count = usize::from(early) + usize::from(late);
        assert_eq!(used(&mut driver, RX, count).len(), count, "turn {turn}");
        assert_eq!(used(&mut driver, TX, 1), [(0, 0)]);
        // The ring has room for what was offered and not used.
        if count < 2 {
            interface.send(&large()[..64]).unwrap();
            assert_eq!(used(&mut driver, RX, 1).len(), 1);
        }
    }
}

#[test]
fn what_is_taken_in_advance_is_put_back_at_a_reset() {
    let (mut driver, interface) = ready(MERGING);
    for slot in 0..8 {
        let at = BUFFERS + 0x1000 * u64::from(slot);
        driver.offer(RX, slot, &[writable(at, 2000)]);
    }
    driver.notify(RX);
    interface.send(&large()[..64]).unwrap();
    assert_eq!(used(&mut driver, RX, 1), [(0, 64)]);
    driver.restart();
    driver.offer(RX, 0, &[writable(BUFFERS, 2000)]);
    driver.notify(RX);
    interface.send(&large()[..80]).unwrap();
    assert_eq!(used(&mut driver, RX, 1), [(0, 80)]);
}

#[test]
fn buffers_outside_of_memory_stop_the_device() {
    for queue in [RX, TX] {
        let (mut driver, interface) = ready(0);
        let outside = 1 << 40;
        match queue {
            RX => driver.offer(RX, 0, &[writable(outside, 100_000)]),
            _ => driver.offer(TX, 0, &[readable(outside, 100)]),
        }
        driver.notify(queue);
        interface.send(&large()).unwrap();
        until(|| {
            driver.transport.poll();
            (driver.read(reg::STATUS) & reg::NEEDS_RESET != 0).then_some(())
        });
    }
}
