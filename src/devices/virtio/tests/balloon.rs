//! The balloon.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::driver::{BUFFERS, Driver, readable, writable};
use super::limit::limit;
use crate::devices::virtio::balloon::{Balloon, Sizes, Standing};
use crate::devices::virtio::registers as reg;
use crate::kvm::bus::BusDevice;

const INFLATE: usize = 0;
const DEFLATE: usize = 1;
const STATISTICS: usize = 2;
const REPORTING: usize = 3;

const STATS: u32 = 1 << 1 | 1 << 2 | 1 << 5;

const LIST: u64 = BUFFERS;
/// Pages that the guest has written.
const PAGES: u64 = 0x20_0000;
const PAGE: u64 = 4096;

fn balloon() -> (Driver, Arc<Sizes>) {
    let sizes = Arc::new(Sizes {
        memory: AtomicU64::new(1 << 30),
        reservation: AtomicU64::new(1 << 40),
    });
    let device = Balloon::new(Arc::clone(&sizes)).unwrap();
    (Driver::new(device), sizes)
}

/// A driver that takes these features and no others, and has its queues ready.
fn prepare(driver: &mut Driver, features: u32) {
    driver.write(reg::STATUS, 1);
    driver.write(reg::STATUS, 3);
    driver.write(reg::DRIVER_FEATURES_SEL, 0);
    driver.write(reg::DRIVER_FEATURES, features);
    driver.write(reg::DRIVER_FEATURES_SEL, 1);
    driver.write(reg::DRIVER_FEATURES, 1);
    driver.write(reg::STATUS, 11);
    driver.set_up_queues();
}

pub fn accept(driver: &mut Driver, features: u32) {
    prepare(driver, features);
    driver.write(reg::STATUS, 15);
}

fn ready() -> (Driver, Arc<Sizes>) {
    let (mut driver, sizes) = balloon();
    accept(&mut driver, STATS);
    assert_eq!(driver.read(reg::STATUS), 15);
    driver.put(PAGES, &[7; 16 * 4096]);
    (driver, sizes)
}

fn byte(driver: &Driver, page: u64) -> u8 {
    driver.get(PAGES + page * PAGE, 1)[0]
}

/// Names pages by their numbers from [`PAGES`] on.
pub fn name(driver: &mut Driver, queue: usize, pages: &[u32]) {
    let first = u32::try_from(PAGES / PAGE).unwrap();
    let numbers = pages.iter().map(|page| first.wrapping_add(*page));
    let bytes: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
    driver.put(LIST, &bytes);
    let len = u32::try_from(bytes.len()).unwrap();
    driver.offer(queue, 0, &[readable(LIST, len)]);
    driver.notify(queue);
}

/// Pages that are to be in it, and that are.
pub fn config(driver: &mut Driver) -> (u32, u32) {
    let mut config = [0xff; 8];
    driver.transport.read(reg::CONFIG, &mut config);
    let word = |at: usize| u32::from_le_bytes(config[at..at + 4].try_into().unwrap());
    (word(0), word(4))
}

/// Says that so many MiB are available.
pub fn say(driver: &mut Driver, mib: u64) {
    let bytes = [&6u16.to_le_bytes()[..], &(mib << 20).to_le_bytes()].concat();
    driver.put(LIST, &bytes);
    driver.offer(STATISTICS, 0, &[readable(LIST, 10)]);
    driver.notify(STATISTICS);
}

#[test]
fn what_a_driver_says_before_it_is_ready_is_heard() {
    let (mut driver, sizes) = balloon();
    sizes.reservation.store(0, Ordering::Relaxed);
    prepare(&mut driver, STATS);
    say(&mut driver, 900);
    assert_eq!(config(&mut driver).0, 0);
    driver.write(reg::STATUS, 15);
    assert!(config(&mut driver).0 > 0);
    let (mut driver, dial) = limit();
    dial.want(4096);
    prepare(&mut driver, 1 << 1);
    say(&mut driver, 900);
    assert_eq!(dial.look(), Standing::Unheard);
    driver.write(reg::STATUS, 15);
    assert_eq!(config(&mut driver).0, 1);
}

#[test]
fn what_is_in_the_balloon_is_the_hosts() {
    let (mut driver, _) = ready();
    name(&mut driver, INFLATE, &[1, 2, 5, 4, 9]);
    assert_eq!(driver.used(INFLATE).len(), 1);
    let seen: Vec<_> = (0..11).map(|page| byte(&driver, page)).collect();
    assert_eq!(seen, [7, 0, 0, 7, 0, 0, 7, 7, 7, 0, 7]);
    assert_eq!(config(&mut driver), (0, 5));
    name(&mut driver, DEFLATE, &[1, 2]);
    assert_eq!(config(&mut driver), (0, 3));
    name(&mut driver, DEFLATE, &[1, 2, 3, 4, 5]);
    assert_eq!(config(&mut driver), (0, 0), "more than there were");
}

#[test]
fn free_pages_that_are_reported_are_the_hosts() {
    let (mut driver, _) = ready();
    let chain = [
        writable(PAGES + PAGE, 8192),
        writable(PAGES + 8 * PAGE, 4096),
        // Nobody's, and not whole.
        writable(u64::MAX - 4095, 4096),
        writable(0x3f_f000, 8192),
        writable(PAGES + 10 * PAGE + 1, 4096),
    ];
    driver.offer(REPORTING, 0, &chain);
    driver.notify(REPORTING);
    assert_eq!(driver.used(REPORTING).len(), 1);
    let seen: Vec<_> = (0..12).map(|page| byte(&driver, page)).collect();
    assert_eq!(seen, [7, 0, 0, 7, 7, 7, 7, 7, 0, 7, 7, 7]);
    assert_eq!(driver.read(reg::STATUS), 15);
}

#[test]
fn pages_outside_of_memory_are_nobodys_and_lists_that_are_none_need_a_reset() {
    let (mut driver, _) = ready();
    name(&mut driver, INFLATE, &[u32::MAX, 1 << 30, 3]);
    assert_eq!((byte(&driver, 3), byte(&driver, 4)), (0, 7));
    assert_eq!(driver.read(reg::STATUS), 15);
    for len in [3, 4 * 4097] {
        let (mut driver, _) = ready();
        driver.offer(INFLATE, 0, &[readable(LIST, len)]);
        driver.notify(INFLATE);
        assert_ne!(driver.read(reg::STATUS) & reg::NEEDS_RESET, 0, "{len}");
    }
}

#[test]
fn a_driver_that_wants_half_of_it_gets_nothing() {
    for features in [0, STATS & !(1 << 1), STATS & !(1 << 5)] {
        let (mut driver, _) = balloon();
        accept(&mut driver, features);
        assert_ne!(
            driver.read(reg::STATUS) & reg::NEEDS_RESET,
            0,
            "{features:x}"
        );
    }
}

#[test]
fn the_guest_is_asked_again_and_pressed_as_far_as_it_can_spare() {
    let (mut driver, sizes) = ready();
    say(&mut driver, 900);
    assert_eq!(
        config(&mut driver).0,
        0,
        "there is room below the reservation"
    );
    assert_eq!(
        driver.used(STATISTICS),
        [],
        "the answer is kept for a second"
    );
    let begun = Instant::now();
    while driver.used(STATISTICS).is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it is not asked again"
        );
        sleep(Duration::from_millis(10));
        // What the event loop does when the clock is readable.
        driver.transport.poll();
        if begun.elapsed() < Duration::from_millis(500) {
            continue;
        }
    }
    while driver.interrupted() {}
    sizes.reservation.store(0, Ordering::Relaxed);
    say(&mut driver, 900);
    let pressed = config(&mut driver).0;
    assert!(pressed > 0 && driver.interrupted());
    // It has less than it keeps for itself: it gets that back.
    name(&mut driver, INFLATE, &(0..16).collect::<Vec<_>>());
    say(&mut driver, 1);
    assert_eq!(config(&mut driver).0, 0);
    assert!(driver.interrupted());
}
