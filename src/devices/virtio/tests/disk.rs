//! The writable block device.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::thread::sleep;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};

use super::driver::{BUFFERS, Driver, readable, unbounded, writable};
use crate::devices::virtio::blk::{Sparse, WritableBlock};
use crate::devices::virtio::registers as reg;
use crate::kvm::bus::BusDevice;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const HEADER: u64 = BUFFERS;
const STATUS: u64 = BUFFERS + 0x800;
const DATA: u64 = BUFFERS + 0x1000;

/// 1 MiB: 2048 sectors.
const LEN: u64 = 1 << 20;

struct Guest {
    driver: Driver,
    file: File,
}

impl Guest {
    fn new() -> Self {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LEN).unwrap();
        let disk = Sparse::new(file.try_clone().unwrap(), LEN);
        Self {
            driver: Driver::ready(WritableBlock::new(disk, unbounded()).unwrap()),
            file,
        }
    }

    /// Asks with this payload, or for `into` bytes; the status, once the disk's thread has answered.
    fn ask(&mut self, kind: u32, sector: u64, payload: &[u8], into: u32) -> u8 {
        let head = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
        self.driver.put(HEADER, &head);
        self.driver.put(STATUS, &[0xee]);
        let mut chain = vec![readable(HEADER, 16)];
        if !payload.is_empty() {
            self.driver.put(DATA, payload);
            chain.push(readable(DATA, u32::try_from(payload.len()).unwrap()));
        }
        if into > 0 {
            chain.push(writable(DATA, into));
        }
        chain.push(writable(STATUS, 1));
        self.driver.offer(0, 0, &chain);
        self.driver.notify(0);
        let patience = Instant::now() + Duration::from_secs(10);
        while self.driver.used(0).is_empty() {
            assert!(Instant::now() < patience, "the disk does not answer");
            sleep(Duration::from_millis(1));
        }
        self.driver.get(STATUS, 1)[0]
    }

    fn byte(&self, at: u64) -> u8 {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, at).unwrap();
        byte[0]
    }
}

fn range(sector: u64, sectors: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &[0; 4]].concat()
}

#[test]
fn the_configuration_says_what_it_can_do() {
    let mut guest = Guest::new();
    let mut config = [0xff; 60];
    guest.driver.transport.read(reg::CONFIG, &mut config);
    let word = |at: usize| u32::from_le_bytes(config[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(4)), (2048, 0));
    assert_eq!((word(36), word(40), word(44)), (1 << 21, 64, 8));
    assert_eq!((word(48), word(52), config[56]), (1 << 21, 64, 1));
    guest.driver.write(reg::DEVICE_FEATURES_SEL, 0);
    let features = guest.driver.read(reg::DEVICE_FEATURES);
    assert_eq!(
        features & (1 << 5 | 1 << 9 | 1 << 13 | 1 << 14),
        1 << 9 | 1 << 13 | 1 << 14
    );
}

#[test]
fn what_is_written_is_read_and_flushed() {
    let mut guest = Guest::new();
    assert_eq!(guest.ask(OUT, 3, &[7; 1024], 0), 0);
    assert_eq!(
        [1535, 1536, 2559, 2560].map(|at| guest.byte(at)),
        [0, 7, 7, 0]
    );
    assert_eq!(guest.ask(FLUSH, 0, &[], 0), 0);
    guest.driver.put(DATA, &[9; 2048]);
    assert_eq!(guest.ask(IN, 4, &[], 1024), 0);
    let data = guest.driver.get(DATA, 1024);
    assert_eq!((data[511], data[512], data[1023]), (7, 0, 0));
}

#[test]
fn what_is_discarded_is_the_hosts_again() {
    let mut guest = Guest::new();
    for sector in (0..2048).step_by(8) {
        assert_eq!(guest.ask(OUT, sector, &[1; 4096], 0), 0);
    }
    guest.file.sync_all().unwrap();
    let full = guest.file.metadata().unwrap().blocks();
    assert!(full >= 2048);
    let ranges = [range(0, 512), range(1024, 512)].concat();
    assert_eq!(guest.ask(DISCARD, 0, &ranges, 0), 0);
    guest.file.sync_all().unwrap();
    let left = guest.file.metadata().unwrap();
    assert!(left.blocks() <= full / 2 + 16 && left.len() == LEN);
    assert_eq!(guest.ask(WRITE_ZEROES, 0, &range(512, 8), 0), 0);
    let seen = [0, 512 * 512, 520 * 512, 1024 * 512].map(|at| guest.byte(at));
    assert_eq!(seen, [0, 0, 1, 0]);
}

#[test]
fn nothing_is_done_beyond_the_end_or_by_halves() {
    let mut guest = Guest::new();
    for (kind, sector) in [
        (OUT, 2048),
        (OUT, 2047),
        (OUT, u64::MAX),
        (OUT, u64::MAX / 512),
    ] {
        assert_ne!(guest.ask(kind, sector, &[1; 1024], 0), 0, "{sector}");
    }
    assert_ne!(guest.ask(IN, 2047, &[], 1024), 0);
    let payloads = [
        range(2040, 16),
        range(u64::MAX, 1),
        range(u64::MAX / 512, u32::MAX),
        range(0, 8)[..8].to_vec(),
        range(0, 8).repeat(65),
    ];
    for payload in payloads {
        for kind in [DISCARD, WRITE_ZEROES] {
            assert_ne!(guest.ask(kind, 0, &payload, 0), 0, "{payload:?}");
        }
    }
    assert_eq!(guest.ask(77, 0, &[], 0), 2);
    assert_eq!(guest.file.metadata().unwrap().len(), LEN);
    assert_eq!(guest.ask(OUT, 2046, &[5; 1024], 0), 0, "and it still works");
    assert_eq!(guest.byte(LEN - 1), 5);
}

proptest::proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_request_reaches_beyond_the_disk(
        kind in 0u32..16,
        sector in any::<u64>(),
        payload in vec(any::<u8>(), 0..96),
        into in 0u32..1024,
    ) {
        let mut guest = Guest::new();
        let _status = guest.ask(kind, sector, &payload, into);
        let len = guest.file.metadata().unwrap().len();
        proptest::prop_assert_eq!(len, LEN);
        guest.driver.restart();
        proptest::prop_assert_eq!(guest.ask(OUT, 0, &[1; 512], 0), 0);
    }
}
