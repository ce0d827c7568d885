//! The network device with several pairs of queues, each with a socket for a TAP interface at its other end.

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};

use super::driver::{BUFFERS, Driver, readable, writable};
use super::net::{begin, until, used};
use crate::devices::virtio::device::Device;
use crate::devices::virtio::net::{Net, Pairs, Tap};
use crate::devices::virtio::registers as reg;
use crate::kvm::bus::BusDevice;

/// VIRTIO_NET_F_MRG_RXBUF; and with it VIRTIO_NET_F_CTRL_VQ and VIRTIO_NET_F_MQ.
const MERGING: u32 = 1 << 15;
const SEVERAL: u32 = MERGING | 1 << 17 | 1 << 22;

const PAIRS: usize = 3;
/// The queue of commands.
const CONTROL: usize = 2 * PAIRS;

/// What test and device share.
struct Host {
    ends: Vec<UnixDatagram>,
    /// Which cables frames may come by.
    steered: Arc<Mutex<Vec<(usize, bool)>>>,
}

impl Host {
    /// Which cables it was told of since the last time.
    fn steered(&self) -> Vec<(usize, bool)> {
        std::mem::take(&mut self.steered.lock().unwrap())
    }
}

fn device() -> (Pairs, Host) {
    let mut host = Host {
        ends: Vec::new(),
        steered: Arc::default(),
    };
    let mut pairs: Vec<Box<dyn Device>> = Vec::new();
    for _ in 0..PAIRS {
        let (end, tap) = UnixDatagram::pair().unwrap();
        tap.set_nonblocking(true).unwrap();
        end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        pairs.push(Box::new(Net::new(Tap::new(tap.into())).unwrap()));
        host.ends.push(end);
    }
    let steered = Arc::clone(&host.steered);
    let steer = move |pair, is_used| {
        steered.lock().unwrap().push((pair, is_used));
        Ok(())
    };
    (Pairs::new(pairs, Box::new(steer)).unwrap(), host)
}

fn ready(features: u32) -> (Driver, Host) {
    let (device, host) = device();
    (begin(device, features), host)
}

/// What is answered to a command of these bytes.
fn command(driver: &mut Driver, bytes: &[u8]) -> u8 {
    driver.put(BUFFERS, bytes);
    driver.put(BUFFERS + 0x1000, &[0xee]);
    let len = u32::try_from(bytes.len()).unwrap();
    let chain = [readable(BUFFERS, len), writable(BUFFERS + 0x1000, 1)];
    driver.offer(CONTROL, 0, &chain);
    driver.notify(CONTROL);
    assert_eq!(driver.used(CONTROL), [(0, 1)]);
    driver.get(BUFFERS + 0x1000, 1)[0]
}

fn use_pairs(driver: &mut Driver, count: u8) -> u8 {
    command(driver, &[4, 0, count, 0])
}

/// Sends a frame by a pair, and has one come by it.
fn exchange(driver: &mut Driver, host: &Host, pair: usize) {
    let (receive, transmit) = (2 * pair, 2 * pair + 1);
    let number = u8::try_from(pair).unwrap();
    driver.put(BUFFERS, &[number; 64]);
    driver.offer(transmit, 0, &[readable(BUFFERS, 64)]);
    driver.notify(transmit);
    let mut bytes = [0; 100];
    assert_eq!(host.ends[pair].recv(&mut bytes).unwrap(), 64);
    assert_eq!(bytes[..64], [number; 64]);
    assert_eq!(used(driver, transmit, 1), [(0, 0)]);
    driver.offer(receive, 0, &[writable(BUFFERS + 0x2000, 3000)]);
    driver.notify(receive);
    host.ends[pair].send(&[number; 80]).unwrap();
    assert_eq!(used(driver, receive, 1), [(0, 80)]);
}

#[test]
fn how_many_pairs_there_are_the_driver_reads() {
    let (device, _host) = device();
    let mut driver = Driver::new(device);
    assert_eq!(driver.transport.queue_count(), 2 * PAIRS + 1);
    assert_eq!(driver.read(reg::DEVICE_FEATURES) & SEVERAL, SEVERAL);
    let mut most = [0; 2];
    driver.transport.read(reg::CONFIG + 8, &mut most);
    assert_eq!(u16::from_le_bytes(most), 3);
    let mut beyond = [0xee; 4];
    driver.transport.read(reg::CONFIG + 10, &mut beyond);
    assert_eq!(beyond, [0; 4]);
}

#[test]
fn one_pair_is_used_until_the_driver_says_more() {
    let (mut driver, host) = ready(SEVERAL);
    assert_eq!(host.steered(), [(1, false), (2, false)]);
    exchange(&mut driver, &host, 0);
    // What is put into others waits.
    driver.put(BUFFERS, &[7; 64]);
    driver.offer(3, 0, &[readable(BUFFERS, 64)]);
    driver.notify(3);
    host.ends[1].set_nonblocking(true).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(host.ends[1].recv(&mut [0; 100]).is_err());
    host.ends[1].set_nonblocking(false).unwrap();
    assert_eq!(use_pairs(&mut driver, 3), 0);
    assert_eq!(host.steered(), [(1, true), (2, true)]);
    assert_eq!(host.ends[1].recv(&mut [0; 100]).unwrap(), 64);
    assert_eq!(used(&mut driver, 3, 1), [(0, 0)]);
    (0..PAIRS).for_each(|pair| exchange(&mut driver, &host, pair));
    // Fewer again, and more: rings go on where they were.
    assert_eq!(use_pairs(&mut driver, 1), 0);
    assert_eq!(host.steered(), [(2, false), (1, false)]);
    exchange(&mut driver, &host, 0);
    assert_eq!(use_pairs(&mut driver, 2), 0);
    assert_eq!(host.steered(), [(1, true)]);
    (0..2).for_each(|pair| exchange(&mut driver, &host, pair));
    assert!(driver.interrupted());
}

#[test]
fn commands_that_make_no_sense_are_answered_so() {
    let (mut driver, host) = ready(SEVERAL);
    host.steered();
    for bytes in [
        &[4, 0, 0, 0][..],
        &[4, 0, 4, 0],
        &[4, 0, 255, 255],
        &[4, 1, 1, 0],
        &[0, 0, 1, 0],
        &[4, 0, 1],
        &[4, 0, 1, 0, 0],
        &[4],
        &[0; 4000],
    ] {
        assert_eq!(command(&mut driver, bytes), 1, "{bytes:?}");
    }
    assert_eq!(host.steered(), []);
    assert_eq!(use_pairs(&mut driver, 2), 0);
    (0..2).for_each(|pair| exchange(&mut driver, &host, pair));
}

#[test]
fn a_command_without_room_for_its_answer_stops_the_device() {
    for outside in [false, true] {
        let (mut driver, host) = ready(SEVERAL);
        assert_eq!(use_pairs(&mut driver, 3), 0);
        host.steered();
        driver.put(BUFFERS, &[4, 0, 1, 0]);
        let answer = outside.then(|| writable(1 << 40, 1));
        let chain: Vec<_> = [readable(BUFFERS, 4)].into_iter().chain(answer).collect();
        driver.offer(CONTROL, 0, &chain);
        driver.notify(CONTROL);
        assert!(driver.read(reg::STATUS) & reg::NEEDS_RESET != 0);
        // Nothing comes by cables that nobody reads, and what was not used is put away.
        assert!(host.steered().contains(&(1, false)));
    }
}

#[test]
fn a_reset_leaves_one_pair() {
    let (mut driver, host) = ready(SEVERAL);
    for _ in 0..3 {
        assert_eq!(use_pairs(&mut driver, 3), 0);
        (0..PAIRS).for_each(|pair| exchange(&mut driver, &host, pair));
        host.steered();
        driver.write(reg::STATUS, 0);
        assert_eq!(host.steered(), [(1, false), (2, false)]);
        driver.restart_with(SEVERAL);
        exchange(&mut driver, &host, 0);
        assert_eq!(host.steered(), []);
    }
}

#[test]
fn a_driver_that_knows_of_one_pair_sets_up_two_queues() {
    for features in [MERGING, MERGING | 1 << 17, MERGING | 1 << 22] {
        let (device, host) = device();
        let mut driver = Driver::new(device);
        driver.restart_with_queues(features, 2);
        assert_eq!(driver.read(reg::STATUS), 15);
        exchange(&mut driver, &host, 0);
        driver.notify(CONTROL);
        driver.notify(3);
        assert_eq!(driver.read(reg::STATUS), 15);
    }
    // One that knows of all of them sets up all.
    let (device, _host) = device();
    let mut driver = Driver::new(device);
    driver.restart_with_queues(SEVERAL, 2);
    assert!(driver.read(reg::STATUS) & reg::NEEDS_RESET != 0);
}

#[test]
fn a_pair_that_breaks_stops_the_device() {
    let (mut driver, host) = ready(SEVERAL);
    assert_eq!(use_pairs(&mut driver, 2), 0);
    driver.offer(3, 0, &[readable(1 << 40, 100)]);
    driver.notify(3);
    until(|| {
        driver.transport.poll();
        (driver.read(reg::STATUS) & reg::NEEDS_RESET != 0).then_some(())
    });
    driver.restart_with(SEVERAL);
    assert_eq!(use_pairs(&mut driver, 2), 0);
    (0..2).for_each(|pair| exchange(&mut driver, &host, pair));
}

/// What a driver may do with commands.
#[derive(Debug, Clone)]
enum Step {
    Say(Vec<u8>, u32, u64),
    Available(usize, u16),
    Index(usize, u16),
    Notify(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![
        3 => (0u8..6, 0u8..2).prop_map(|(count, high)| vec![4, 0, count, high]),
        1 => vec(any::<u8>(), 0..20),
    ];
    let room = prop_oneof![3 => Just(1u32), 1 => 0u32..3, 1 => any::<u32>()];
    let place = prop_oneof![6 => Just(BUFFERS + 0x1000), 1 => any::<u64>()];
    let queue = || 0..=CONTROL;
    prop_oneof![
        6 => (bytes, room, place).prop_map(|(bytes, room, place)| Step::Say(bytes, room, place)),
        2 => (queue(), 0u16..17).prop_map(|(queue, head)| Step::Available(queue, head)),
        1 => (queue(), any::<u16>()).prop_map(|(queue, index)| Step::Index(queue, index)),
        3 => queue().prop_map(Step::Notify),
        1 => Just(Step::Restart),
    ]
}

proptest::proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_commands_break_the_device(steps in vec(step(), 0..40)) {
        let (mut driver, host) = ready(SEVERAL);
        for step in steps {
            match step {
                Step::Say(bytes, room, place) => {
                    driver.put(BUFFERS, &bytes);
                    let len = u32::try_from(bytes.len()).unwrap();
                    let chain = [readable(BUFFERS, len), writable(place, room)];
                    driver.offer(CONTROL, 0, &chain);
                    driver.notify(CONTROL);
                }
                Step::Available(queue, head) => driver.make_available(queue, head),
                Step::Index(queue, index) => driver.set_available_index(queue, index),
                Step::Notify(queue) => driver.notify(queue),
                Step::Restart => driver.restart_with(SEVERAL),
            }
            driver.transport.poll();
        }
        driver.restart_with(SEVERAL);
        proptest::prop_assert_eq!(use_pairs(&mut driver, 3), 0);
        // What was sent by accident is not what is looked for.
        for end in &host.ends {
            end.set_nonblocking(true).unwrap();
            while end.recv(&mut [0; 100]).is_ok() {}
            end.set_nonblocking(false).unwrap();
        }
        (0..PAIRS).for_each(|pair| exchange(&mut driver, &host, pair));
    }
}
