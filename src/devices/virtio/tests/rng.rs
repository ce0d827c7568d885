//! The entropy device.

use super::driver::{BUFFERS, Driver, readable, writable};
use crate::devices::virtio::registers as reg;
use crate::devices::virtio::rng::Rng;

#[test]
fn buffers_come_back_full_of_something_new() {
    let mut driver = Driver::ready(Rng::default());
    driver.offer(0, 0, &[writable(BUFFERS, 64)]);
    driver.offer(
        0,
        1,
        &[writable(BUFFERS + 64, 32), writable(BUFFERS + 200, 32)],
    );
    driver.notify(0);
    assert_eq!(driver.used(0), [(0, 64), (1, 64)]);
    let (first, second) = (driver.get(BUFFERS, 64), driver.get(BUFFERS + 64, 32));
    assert!(first.iter().any(|byte| *byte != 0));
    assert_ne!(first[..32], second[..]);
    assert_eq!(
        driver.get(BUFFERS + 96, 104),
        [0; 104],
        "between the buffers"
    );
}

#[test]
fn a_request_of_gigabytes_costs_a_page() {
    let mut driver = Driver::ready(Rng::default());
    driver.offer(0, 0, &[writable(BUFFERS, u32::MAX)]);
    driver.notify(0);
    assert_eq!(driver.used(0), [(0, 4096)]);
}

#[test]
fn what_breaks_the_protocol_needs_a_reset() {
    let chains = [
        vec![readable(BUFFERS, 8)],
        vec![writable(BUFFERS, 0)],
        vec![writable(u64::MAX - 3, 8)],
        vec![writable(BUFFERS, 8), readable(BUFFERS, 8)],
    ];
    for chain in chains {
        let mut driver = Driver::ready(Rng::default());
        driver.offer(0, 0, &chain);
        driver.notify(0);
        assert_ne!(driver.read(reg::STATUS) & reg::NEEDS_RESET, 0, "{chain:?}");
        assert!(driver.interrupted());
        assert_eq!(driver.read(reg::INTERRUPT_STATUS), reg::INTERRUPT_CONFIG);
    }
}

#[test]
fn a_chain_without_an_end_ends() {
    let mut driver = Driver::ready(Rng::default());
    for index in 0..2 {
        driver.describe(0, index, writable(BUFFERS, 8), 1 | 2, 1 - index);
    }
    driver.make_available(0, 0);
    driver.notify(0);
    // The chain is as long as the queue at most; that the test gets here is the point.
    assert!(driver.used(0).len() <= 1);
}
