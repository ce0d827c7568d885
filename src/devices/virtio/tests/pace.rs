//! Disks that are used at a pace.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::driver::{BUFFERS, Driver, readable, unbounded, writable};
use crate::devices::virtio::blk::{Block, Sparse, Stitched, WritableBlock};
use crate::devices::virtio::pace::Pace;
use crate::devices::virtio::registers as reg;
use crate::spec::{DeviceRate, DeviceRates};

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;

const HEADER: u64 = BUFFERS;
const STATUS: u64 = BUFFERS + 0x800;
const DATA: u64 = BUFFERS + 0x1000;

/// 1 MiB.
const LEN: u64 = 1 << 20;

/// Long enough for anything that does not wait for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

fn rate(rate: u64) -> Option<DeviceRate> {
    let device = None;
    Some(DeviceRate { device, rate })
}

fn written(bps: u64) -> DeviceRates {
    DeviceRates {
        write_bps: rate(bps),
        ..DeviceRates::default()
    }
}

fn read(bps: u64) -> DeviceRates {
    DeviceRates {
        read_bps: rate(bps),
        ..DeviceRates::default()
    }
}

fn writable_disk(rates: &DeviceRates) -> (Driver, File, Arc<Pace>) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(LEN).unwrap();
    let disk = Sparse::new(file.try_clone().unwrap(), LEN);
    let pace = Arc::new(Pace::new(rates, Instant::now()));
    let disk = WritableBlock::new(disk, Arc::clone(&pace)).unwrap();
    (Driver::ready(disk), file, pace)
}

fn image_disk(pace: &Arc<Pace>) -> Driver {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[7; 8192]).unwrap();
    let disk = Stitched::new(vec![(file, LEN)]);
    Driver::ready(Block::new(disk, Arc::clone(pace)))
}

/// Asks for `len` bytes, or gives them; nobody waits for the answer.
fn ask(driver: &mut Driver, kind: u32, sector: u64, len: u32) {
    let head = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
    driver.put(HEADER, &head);
    driver.put(STATUS, &[0xee]);
    let data = match kind {
        IN => writable(DATA, len),
        _ => readable(DATA, len),
    };
    driver.offer(0, 0, &[readable(HEADER, 16), data, writable(STATUS, 1)]);
    driver.notify(0);
}

/// The status of what was asked.
fn answer(driver: &mut Driver) -> u8 {
    let begun = Instant::now();
    while driver.used(0).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the disk does not answer");
        sleep(Duration::from_millis(1));
    }
    driver.get(STATUS, 1)[0]
}

#[test]
fn bytes_are_written_at_the_rate_and_none_is_lost() {
    let (mut driver, file, _) = writable_disk(&written(1 << 20));
    let begun = Instant::now();
    for (number, sector) in (1..=16).zip((0..2048).step_by(128)) {
        driver.put(DATA, &[number; 65_536]);
        ask(&mut driver, OUT, sector, 65_536);
        assert_eq!(answer(&mut driver), 0);
    }
    // A quarter of a second's worth was there, and the last one owes its own.
    assert!(begun.elapsed() >= Duration::from_millis(500));
    for number in 1..=16u8 {
        let mut byte = [0];
        let last = u64::from(number) * 65_536 - 1;
        file.read_exact_at(&mut byte, last).unwrap();
        assert_eq!(byte, [number]);
    }
}

#[test]
fn requests_are_counted_whatever_their_size() {
    let rates = DeviceRates {
        write_iops: rate(8),
        ..DeviceRates::default()
    };
    let (mut driver, ..) = writable_disk(&rates);
    let begun = Instant::now();
    for sector in 0..8 {
        ask(&mut driver, OUT, sector, 512);
        assert_eq!(answer(&mut driver), 0);
        // Reads are not written.
        ask(&mut driver, IN, sector, 512);
        assert_eq!(answer(&mut driver), 0);
    }
    assert!(begun.elapsed() >= Duration::from_millis(500));
}

#[test]
fn who_waits_for_years_does_not_keep_the_device_from_being_reset() {
    let (mut driver, file, pace) = writable_disk(&written(1));
    driver.put(DATA, &[1; 65_536]);
    ask(&mut driver, OUT, 0, 65_536);
    assert_eq!(answer(&mut driver), 0, "what it owes is for the next one");
    // Neither a flush nor a read is bounded.
    for kind in [FLUSH, IN] {
        ask(&mut driver, kind, 0, 512);
        assert_eq!(answer(&mut driver), 0);
    }
    ask(&mut driver, OUT, 1024, 512);
    sleep(Duration::from_millis(50));
    assert_eq!(driver.used(0), []);
    driver.restart();
    assert_eq!(driver.get(STATUS, 1), [0xee], "it was never served");
    let mut byte = [9];
    file.read_exact_at(&mut byte, 1024 * 512).unwrap();
    assert_eq!(byte, [0]);
    // And one that waits is served when the bound is lifted.
    ask(&mut driver, OUT, 1024, 512);
    sleep(Duration::from_millis(50));
    assert_eq!(driver.used(0), []);
    pace.set(&DeviceRates::default(), Instant::now());
    assert_eq!(answer(&mut driver), 0);
    file.read_exact_at(&mut byte, 1024 * 512).unwrap();
    assert_eq!(byte, [1]);
}

#[test]
fn an_image_is_read_at_the_rate_from_its_first_request_or_from_a_later_one() {
    let pace = unbounded();
    let mut driver = image_disk(&pace);
    ask(&mut driver, IN, 0, 4096);
    assert_eq!(driver.used(0).len(), 1, "served where it arrived");
    pace.set(&read(1 << 20), Instant::now());
    let begun = Instant::now();
    for _ in 0..16 {
        ask(&mut driver, IN, 0, 65_536);
        assert_eq!(answer(&mut driver), 0);
        assert_eq!(driver.get(DATA + 8191, 2), [7, 0]);
    }
    assert!(begun.elapsed() >= Duration::from_millis(500));
    ask(&mut driver, OUT, 0, 65_536);
    assert_eq!(answer(&mut driver), 2, "read-only all the same");
    driver.restart();
    pace.set(&DeviceRates::default(), Instant::now());
    ask(&mut driver, IN, 0, 4096);
    assert_eq!(answer(&mut driver), 0);
}

#[test]
fn a_driver_that_breaks_the_protocol_behind_a_bound_needs_a_reset() {
    let pace = Arc::new(Pace::new(&read(1 << 20), Instant::now()));
    let mut driver = image_disk(&pace);
    driver.offer(0, 0, &[readable(HEADER, 16)]);
    let begun = Instant::now();
    while driver.read(reg::STATUS) & reg::NEEDS_RESET == 0 {
        assert!(begun.elapsed() < PATIENCE);
        driver.notify(0);
        sleep(Duration::from_millis(1));
    }
    driver.restart();
    ask(&mut driver, IN, 0, 4096);
    assert_eq!(answer(&mut driver), 0);
}
