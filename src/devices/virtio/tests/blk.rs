//! The block device.

use std::io::Write;

use super::driver::{BUFFERS, Driver, readable, unbounded, writable};
use crate::devices::virtio::blk::{Block, Stitched};
use crate::devices::virtio::registers as reg;
use crate::kvm::bus::BusDevice;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;

const HEADER: u64 = BUFFERS;
const DATA: u64 = BUFFERS + 0x1000;
const STATUS: u64 = BUFFERS + 0x800;

fn driver() -> Driver {
    let file = |byte: u8, len: usize| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![byte; len]).unwrap();
        file
    };
    let disk = Stitched::new(vec![(file(1, 5000), 8192), (file(2, 4096), 4096)]);
    let driver = Driver::ready(Block::new(disk, unbounded()));
    driver.put(STATUS, &[0xee]);
    driver
}

fn request(driver: &mut Driver, kind: u32, sector: u64, len: u32) -> u8 {
    driver.put(
        HEADER,
        &[&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat(),
    );
    let data = if kind == OUT {
        readable(DATA, len)
    } else {
        writable(DATA, len)
    };
    driver.offer(0, 0, &[readable(HEADER, 16), data, writable(STATUS, 1)]);
    driver.notify(0);
    driver.get(STATUS, 1)[0]
}

#[test]
fn the_configuration_says_how_large_it_is() {
    let mut driver = driver();
    let mut capacity = [0; 8];
    driver.transport.read(reg::CONFIG, &mut capacity);
    assert_eq!(u64::from_le_bytes(capacity), 24);
    driver.write(reg::DEVICE_FEATURES_SEL, 0);
    assert_ne!(driver.read(reg::DEVICE_FEATURES) & 1 << 5, 0, "read-only");
}

#[test]
fn reads_cross_files_and_padding() {
    let mut driver = driver();
    assert_eq!(request(&mut driver, IN, 9, 8192 - 9 * 512 + 512), 0);
    let data = driver.get(DATA, 4096);
    assert_eq!((data[5000 - 9 * 512 - 1], data[5000 - 9 * 512]), (1, 0));
    assert_eq!((data[8191 - 9 * 512], data[8192 - 9 * 512]), (0, 2));
    assert_eq!(driver.used(0), [(0, 8192 - 9 * 512 + 512 + 1)]);
}

#[test]
fn what_a_read_only_disk_cannot_do() {
    let mut driver = driver();
    assert_eq!(request(&mut driver, IN, 24, 512), 1, "beyond the end");
    assert_ne!(
        request(&mut driver, IN, u64::MAX, 512),
        0,
        "far beyond the end"
    );
    assert_ne!(request(&mut driver, OUT, 0, 512), 0, "a write");
    assert_eq!(request(&mut driver, 77, 0, 512), 2, "an unknown request");
    assert!(matches!(request(&mut driver, FLUSH, 0, 0), 0 | 2));
    assert_eq!(request(&mut driver, IN, 0, 512), 0, "and it still works");
}

#[test]
fn it_has_a_name() {
    let mut driver = driver();
    assert_eq!(request(&mut driver, GET_ID, 0, 20), 0);
    assert_eq!(&driver.get(DATA, 9), b"husk-disk");
}

#[test]
fn chains_that_are_no_requests_need_a_reset() {
    let chains = [
        vec![readable(HEADER, 16)],
        vec![readable(HEADER, 4), writable(STATUS, 1)],
        vec![writable(STATUS, 1)],
        vec![readable(u64::MAX - 2, 16), writable(STATUS, 1)],
    ];
    for chain in chains {
        let mut driver = driver();
        driver.offer(0, 0, &chain);
        driver.notify(0);
        assert_ne!(driver.read(reg::STATUS) & reg::NEEDS_RESET, 0, "{chain:?}");
    }
}

#[test]
fn data_outside_of_memory_is_an_error_of_the_request() {
    let mut driver = driver();
    driver.put(HEADER, &[0; 16]);
    driver.offer(
        0,
        0,
        &[
            readable(HEADER, 16),
            writable(0xffff_0000, 512),
            writable(STATUS, 1),
        ],
    );
    driver.notify(0);
    assert_eq!(driver.get(STATUS, 1), [1]);
}
