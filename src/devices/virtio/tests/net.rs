//! The network device, with a peer that keeps what it gets and gives what it is told to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};

use super::driver::{BUFFERS, Driver, readable, writable};
use crate::devices::virtio::device::Device;
use crate::devices::virtio::net::{Cable, Net};
use crate::devices::virtio::registers as reg;
use crate::net::{FRAME_LEN, Frame, Peer, Unsummed};

const RX: usize = 0;
const TX: usize = 1;
const HEADER: usize = 12;

/// VIRTIO_NET_F_CSUM, GUEST_CSUM and MRG_RXBUF.
const ALL: u32 = 1 | 1 << 1 | 1 << 15;
const WITHOUT_MERGING: u32 = ALL & !(1 << 15);

/// What test and peer share.
#[derive(Clone)]
struct Desk {
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
    /// The checksum that was left to it with the last frame.
    left: Arc<Mutex<Option<Unsummed>>>,
    given: Arc<Mutex<Vec<Frame>>>,
    bell: Arc<OwnedFd>,
}

impl Desk {
    fn new() -> Self {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        Self {
            taken: Arc::default(),
            left: Arc::default(),
            given: Arc::default(),
            bell: Arc::new(eventfd(0, flags).unwrap()),
        }
    }

    fn give(&self, bytes: Vec<u8>, unsummed: Option<Unsummed>) {
        self.given.lock().unwrap().push(Frame { bytes, unsummed });
        write(&self.bell, &1u64.to_ne_bytes()).unwrap();
    }
}

impl Peer for Desk {
    fn take(&mut self, frame: &[u8], unsummed: Option<Unsummed>) {
        *self.left.lock().unwrap() = unsummed;
        self.taken.lock().unwrap().push(frame.to_vec());
    }

    fn give(&mut self, frame: &mut Frame) -> bool {
        let mut given = self.given.lock().unwrap();
        if given.is_empty() {
            return false;
        }
        *frame = given.remove(0);
        true
    }

    fn source(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn poll(&mut self) -> io::Result<()> {
        let _empty = read(&self.bell, &mut [0; 8]);
        Ok(())
    }

    fn patience(&self) -> Option<Duration> {
        None
    }
}

fn ready(features: u32) -> (Driver, Desk) {
    let desk = Desk::new();
    let device = Net::new(Cable::new(Box::new(desk.clone()))).unwrap();
    (begin(device, features), desk)
}

/// A driver that has chosen `features` of the first 32.
pub fn begin(device: impl Device + 'static, features: u32) -> Driver {
    begin_with(Driver::new(device), features)
}

/// The same, for `driver`, which has done nothing.
pub fn begin_with(mut driver: Driver, features: u32) -> Driver {
    driver.write(reg::STATUS, 1);
    driver.write(reg::STATUS, 3);
    driver.write(reg::DRIVER_FEATURES_SEL, 0);
    driver.write(reg::DRIVER_FEATURES, features);
    driver.write(reg::DRIVER_FEATURES_SEL, 1);
    driver.write(reg::DRIVER_FEATURES, 1);
    driver.write(reg::STATUS, 11);
    driver.set_up_queues();
    driver.write(reg::STATUS, 15);
    assert_eq!(driver.read(reg::STATUS), 15);
    driver
}

/// Waits for what a thread does.
pub fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "nothing happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn used(driver: &mut Driver, queue: usize, count: usize) -> Vec<(u32, u32)> {
    let mut all = Vec::new();
    until(|| {
        all.extend(driver.used(queue));
        (all.len() >= count).then_some(())
    });
    all
}

fn send(driver: &mut Driver, header: [u8; HEADER], frame: &[u8]) {
    driver.put(BUFFERS, &header);
    driver.put(BUFFERS + 100, frame);
    let len = u32::try_from(frame.len()).unwrap();
    driver.offer(
        TX,
        0,
        &[readable(BUFFERS, 12), readable(BUFFERS + 100, len)],
    );
    driver.notify(TX);
}

#[test]
fn there_is_nothing_to_read_from_the_card() {
    let mut driver = Driver::new(Net::new(Cable::new(Box::new(Desk::new()))).unwrap());
    assert_eq!(driver.read(reg::DEVICE_ID), 1);
    let words = [0, 4, 8].map(|at| driver.read(reg::CONFIG + at));
    assert_eq!(words, [0; 3]);
}

#[test]
fn frames_leave_whole_and_in_order() {
    let (mut driver, desk) = ready(ALL);
    for number in 0..3u8 {
        let mut header = [0; HEADER];
        // The driver leaves the checksum of the last one.
        header[0] = number / 2;
        header[6..10].copy_from_slice(&[34, 0, 16, 0]);
        send(&mut driver, header, &[number; 60]);
        assert_eq!(used(&mut driver, TX, 1), [(0, 0)]);
    }
    let taken = until(|| {
        let taken = desk.taken.lock().unwrap();
        (taken.len() == 3).then(|| taken.clone())
    });
    assert_eq!(taken, [[0; 60], [1; 60], [2; 60]]);
    let left = Unsummed {
        start: 34,
        offset: 16,
    };
    assert_eq!(*desk.left.lock().unwrap(), Some(left));
}

#[test]
fn what_is_no_frame_goes_nowhere() {
    let (mut driver, desk) = ready(ALL);
    let mut cut = [0; HEADER];
    cut[1] = 1;
    send(&mut driver, cut, &[9; 60]);
    used(&mut driver, TX, 1);
    let huge = u32::try_from(FRAME_LEN + 100).unwrap();
    driver.offer(
        TX,
        0,
        &[readable(BUFFERS, 12), readable(BUFFERS + 100, huge)],
    );
    driver.notify(TX);
    used(&mut driver, TX, 1);
    send(&mut driver, [0; HEADER], &[1; 60]);
    used(&mut driver, TX, 1);
    assert_eq!(*desk.taken.lock().unwrap(), [[1; 60]]);
    driver.offer(TX, 0, &[readable(BUFFERS, 11)]);
    driver.notify(TX);
    until(|| {
        driver.transport.poll();
        (driver.read(reg::STATUS) & reg::NEEDS_RESET != 0).then_some(())
    });
}

#[test]
fn a_frame_takes_as_many_buffers_as_it_needs() {
    let (mut driver, desk) = ready(ALL);
    let frame: Vec<u8> = (0..=255u8).cycle().take(2500).collect();
    let unsummed = Unsummed {
        start: 34,
        offset: 16,
    };
    desk.give(frame.clone(), Some(unsummed));
    // Two buffers are too few; nothing is shown until there are three.
    for slot in 0..2u16 {
        let at = BUFFERS + 0x1000 * u64::from(slot);
        driver.offer(RX, slot, &[writable(at, 1000)]);
    }
    driver.notify(RX);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(driver.used(RX), []);
    driver.offer(RX, 2, &[writable(BUFFERS + 0x2000, 1000)]);
    driver.notify(RX);
    assert_eq!(used(&mut driver, RX, 3), [(0, 1000), (1, 1000), (2, 512)]);
    assert!(driver.interrupted());
    let header = driver.get(BUFFERS, HEADER);
    assert_eq!(header, [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 3, 0]);
    let mut got = driver.get(BUFFERS + 12, 988);
    got.extend(driver.get(BUFFERS + 0x1000, 1000));
    got.extend(driver.get(BUFFERS + 0x2000, 512));
    assert_eq!(got, frame);
}

#[test]
fn without_merging_a_frame_that_does_not_fit_is_lost() {
    let (mut driver, desk) = ready(WITHOUT_MERGING);
    driver.offer(RX, 0, &[writable(BUFFERS, 500)]);
    driver.notify(RX);
    desk.give(vec![1; 600], None);
    desk.give(vec![2; 100], None);
    assert_eq!(used(&mut driver, RX, 1), [(0, 112)]);
    assert_eq!(driver.get(BUFFERS + 12, 100), [2; 100]);
}

#[test]
fn a_driver_that_cannot_finish_checksums_gets_them_finished() {
    let (mut driver, desk) = ready(ALL & !2);
    let mut frame = vec![0; 60];
    frame[40..42].copy_from_slice(&[0x12, 0x34]);
    let unsummed = Unsummed {
        start: 34,
        offset: 16,
    };
    driver.offer(RX, 0, &[writable(BUFFERS, 500)]);
    driver.notify(RX);
    desk.give(frame, Some(unsummed));
    used(&mut driver, RX, 1);
    assert_eq!(driver.get(BUFFERS, 10), [0; 10]);
    assert_eq!(driver.get(BUFFERS + 12 + 50, 2), (!0x1234u16).to_be_bytes());
}

#[test]
fn a_reset_in_the_middle_of_a_frame_begins_anew() {
    let (mut driver, desk) = ready(ALL);
    driver.offer(RX, 0, &[writable(BUFFERS, 100)]);
    driver.notify(RX);
    desk.give(vec![7; 150], None);
    std::thread::sleep(Duration::from_millis(20));
    driver.restart();
    driver.offer(RX, 0, &[writable(BUFFERS, 1000)]);
    driver.notify(RX);
    let unmerged = used(&mut driver, RX, 1);
    assert_eq!(unmerged, [(0, 162)]);
    send(&mut driver, [0; HEADER], &[3; 60]);
    used(&mut driver, TX, 1);
    assert_eq!(*desk.taken.lock().unwrap(), [[3; 60]]);
}
