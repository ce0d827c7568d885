//! Drivers that break the protocol on purpose: every device answers, and soon.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::driver::{BUFFERS, Driver, readable, unbounded, writable};
use crate::devices::virtio::blk::{Block, Stitched};
use crate::devices::virtio::registers as reg;
use crate::devices::virtio::rng::Rng;
use crate::devices::virtio::vsock::packet::{HEADER_LEN, Header, TYPE_STREAM, op};
use crate::devices::virtio::vsock::{Connector, Vsock};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

const RX: usize = 0;
const TX: usize = 1;

/// What `work` gives, unless it hangs.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(work()));
    receiver
        .recv_timeout(LIMIT)
        .expect("a device that is done by now")
}

fn needs_reset(driver: &mut Driver) -> bool {
    driver.read(reg::STATUS) & reg::NEEDS_RESET != 0
}

/// Answers every connection, counts them, and gives the test the other ends.
struct Ends {
    asked: Arc<AtomicUsize>,
    ends: Sender<UnixStream>,
}

impl Connector for Ends {
    fn connect(&self, _port: u32) -> io::Result<UnixStream> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (ours, theirs) = UnixStream::pair()?;
        self.ends.send(theirs).map_err(io::Error::other)?;
        Ok(ours)
    }
}

struct Guest {
    driver: Driver,
    asked: Arc<AtomicUsize>,
    ends: Receiver<UnixStream>,
}

impl Guest {
    fn new() -> Self {
        let (sender, ends) = channel();
        let asked = Arc::default();
        let connector = Ends {
            asked: Arc::clone(&asked),
            ends: sender,
        };
        let driver = Driver::ready(Vsock::new(Box::new(connector)).unwrap());
        Self {
            driver,
            asked,
            ends,
        }
    }

    /// Gives `count` buffers of `len` bytes to receive into.
    fn give(&mut self, count: u16, len: u32) {
        for slot in 0..count {
            let at = BUFFERS + 0x1_0000 + 0x1000 * u64::from(slot);
            self.driver.offer(RX, slot, &[writable(at, len)]);
        }
        self.driver.notify(RX);
    }

    fn send(&mut self, op: u16, buf_alloc: u32) {
        let header = Header {
            src_cid: 3,
            dst_cid: 2,
            src_port: 50,
            dst_port: 1024,
            kind: TYPE_STREAM,
            op,
            buf_alloc,
            ..Header::default()
        };
        self.driver.put(BUFFERS, &header.encode());
        let len = u32::try_from(HEADER_LEN).unwrap();
        self.driver.offer(TX, 0, &[readable(BUFFERS, len)]);
        self.driver.notify(TX);
    }

    /// Serves the device as the event loop does, and says whether it stays readable for ever.
    fn spins(&mut self) -> bool {
        for _ in 0..10 {
            if !self.is_readable() {
                return false;
            }
            self.driver.transport.poll();
        }
        true
    }

    fn is_readable(&self) -> bool {
        let source = self.driver.transport.source().unwrap();
        let mut entries = [PollFd::new(&source, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut entries, Some(&now)).unwrap() > 0
    }
}

#[test]
fn an_available_index_that_jumps_needs_a_reset() {
    let devices: [fn() -> Driver; 3] = [
        || Driver::ready(Rng::default()),
        || Driver::ready(Block::new(Stitched::new(Vec::new()), unbounded())),
        || Guest::new().driver,
    ];
    for device in devices {
        let reset = ends(move || {
            let mut driver = device();
            (0..driver.transport.queue_count())
                .for_each(|queue| driver.set_available_index(queue, 1000));
            driver.notify(0);
            driver.notify(1);
            needs_reset(&mut driver)
        });
        assert!(reset);
    }
}

#[test]
fn a_queue_at_address_zero_needs_a_reset() {
    let reset = ends(|| {
        let mut driver = Driver::new(Rng::default());
        driver.negotiate();
        driver.set_up_queues();
        driver.write(reg::QUEUE_DRIVER_LOW, 0);
        driver.put(2, &[1]);
        driver.write(reg::STATUS, 15);
        driver.notify(0);
        needs_reset(&mut driver)
    });
    assert!(reset);
}

#[test]
fn a_buffer_without_room_for_data_is_no_end_of_file() {
    let mut guest = Guest::new();
    guest.send(op::REQUEST, 1000);
    let end = guest.ends.try_recv().unwrap();
    io::Write::write_all(&mut &end, b"data").unwrap();
    guest.give(3, u32::try_from(HEADER_LEN).unwrap());
    assert!(needs_reset(&mut guest.driver));
}

#[test]
fn a_host_that_hangs_up_on_a_guest_without_credit_costs_no_cpu() {
    let mut guest = Guest::new();
    guest.give(8, 0x1000);
    guest.send(op::REQUEST, 0);
    drop(guest.ends.try_recv().unwrap());
    assert!(!guest.spins());
}

#[test]
fn a_host_that_hangs_up_on_a_guest_without_buffers_costs_no_cpu() {
    let mut guest = Guest::new();
    guest.send(op::REQUEST, 1000);
    drop(guest.ends.try_recv().unwrap());
    assert!(!guest.spins());
}

#[test]
fn a_device_that_needs_a_reset_lets_go_of_the_host() {
    let spoil: [fn(&mut Driver); 2] = [
        |driver| driver.set_available_index(TX, 1000),
        |driver| driver.write(reg::STATUS, 15 | reg::FAILED),
    ];
    for spoil in spoil {
        let mut guest = Guest::new();
        guest.give(8, 0x1000);
        guest.send(op::REQUEST, 1000);
        let mut end = guest.ends.try_recv().unwrap();
        io::Write::write_all(&mut end, b"nobody takes this").unwrap();
        spoil(&mut guest.driver);
        guest.driver.notify(TX);
        assert!(!guest.spins());
        let hung_up = io::Read::read(&mut end, &mut [0; 1]);
        assert!(matches!(hung_up, Ok(0) | Err(_)));
    }
}

#[test]
fn a_request_that_is_refused_anyway_is_not_passed_on() {
    let mut guest = Guest::new();
    for _ in 0..5 {
        guest.send(op::REQUEST, 1000);
        guest.send(op::REQUEST, 1000);
    }
    // The second request of a stream ends it, and the third begins it anew.
    assert_eq!(guest.asked.load(Ordering::SeqCst), 5);
}
