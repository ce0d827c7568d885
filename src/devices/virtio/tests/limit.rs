//! The balloon that bounds a guest's memory.

use super::balloon::{accept, config, name, say};
use super::driver::Driver;
use crate::devices::virtio::balloon::{Dial, Limit, Standing};
use crate::devices::virtio::registers as reg;

const INFLATE: usize = 0;
const DEFLATE: usize = 1;
const STATISTICS: usize = 2;

const STATS: u32 = 1 << 1;

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

pub fn limit() -> (Driver, Dial) {
    let dial = Dial::default();
    (Driver::new(Limit::new(&dial)), dial)
}

/// One whose guest could spare so many MiB when its driver came.
fn ready(mib: u64) -> (Driver, Dial) {
    let (mut driver, dial) = limit();
    accept(&mut driver, STATS);
    assert_eq!(driver.read(reg::STATUS), 15);
    say(&mut driver, mib);
    while driver.interrupted() {}
    (driver, dial)
}

fn told(inflated: u64, target: u64) -> Standing {
    Standing::Told {
        inflated: inflated * PAGE,
        target: target * PAGE,
    }
}

#[test]
fn a_guest_is_asked_before_it_is_told_and_told_what_it_can_spare() {
    let (mut driver, dial) = ready(100);
    assert_eq!(dial.look(), told(0, 0));
    dial.want(96 * MIB);
    assert_eq!((dial.look(), config(&mut driver).0), (Standing::Unheard, 0));
    driver.transport.poll();
    assert_eq!(driver.used(STATISTICS).len(), 1, "it is asked");
    assert_eq!(config(&mut driver).0, 0);
    // It has got less to spare meanwhile: nothing is taken of it.
    say(&mut driver, 99);
    let spare = 95 * MIB;
    assert_eq!(dial.look(), Standing::Short { spare });
    assert_eq!(config(&mut driver).0, 0);
    dial.want(95 * MIB);
    driver.transport.poll();
    while driver.interrupted() {}
    say(&mut driver, 99);
    assert!(driver.interrupted());
    assert_eq!(dial.look(), told(0, 95 * 256));
    assert_eq!(config(&mut driver).0, 95 * 256);
}

#[test]
fn less_is_given_back_at_once_and_what_is_in_it_is_counted() {
    let (mut driver, dial) = ready(100);
    dial.want(8 * PAGE);
    driver.transport.poll();
    say(&mut driver, 100);
    name(&mut driver, INFLATE, &(0..8).collect::<Vec<_>>());
    assert_eq!(dial.look(), told(8, 8));
    // What is in it already needs not to be spared again.
    dial.want(MIB);
    driver.transport.poll();
    say(&mut driver, 5);
    assert_eq!(dial.look(), told(8, 256));
    while driver.interrupted() {}
    dial.want(PAGE);
    driver.transport.poll();
    assert!(driver.interrupted());
    assert_eq!(dial.look(), told(8, 1));
    name(&mut driver, DEFLATE, &(0..7).collect::<Vec<_>>());
    assert_eq!((dial.look(), config(&mut driver)), (told(1, 1), (1, 1)));
}

#[test]
fn a_driver_that_comes_again_is_told_again() {
    let (mut driver, dial) = ready(100);
    dial.want(4 * PAGE);
    driver.transport.poll();
    say(&mut driver, 100);
    name(&mut driver, INFLATE, &[0, 1, 2, 3]);
    driver.write(reg::STATUS, 0);
    accept(&mut driver, STATS);
    assert_eq!((dial.look(), config(&mut driver)), (told(0, 4), (4, 0)));
}

#[test]
fn a_driver_that_says_nothing_of_its_guest_gets_nothing() {
    for features in [0, 1 << 2, STATS | 1 << 2] {
        let (mut driver, _) = limit();
        accept(&mut driver, features);
        assert_ne!(driver.read(reg::STATUS), 15, "{features:x}");
    }
}
