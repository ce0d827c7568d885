//! The transport: what drivers may do, and what happens to those that do otherwise.

use super::driver::{BUFFERS, Driver, writable};
use crate::devices::virtio::registers as reg;
use crate::devices::virtio::rng::Rng;

#[test]
fn a_device_says_what_it_is() {
    let mut driver = Driver::new(Rng::default());
    assert_eq!(driver.read(reg::MAGIC_VALUE), u32::from_le_bytes(*b"virt"));
    assert_eq!(driver.read(reg::DEVICE_VERSION), 2);
    assert_eq!(driver.read(reg::DEVICE_ID), 4);
    driver.write(reg::DEVICE_FEATURES_SEL, 1);
    assert_eq!(
        driver.read(reg::DEVICE_FEATURES) & 1,
        1,
        "VIRTIO_F_VERSION_1"
    );
    driver.write(reg::DEVICE_FEATURES_SEL, 7);
    assert_eq!(driver.read(reg::DEVICE_FEATURES), 0);
}

#[test]
fn steps_out_of_order_are_ignored() {
    let mut driver = Driver::new(Rng::default());
    for illegal in [2, 8, 15, 4] {
        driver.write(reg::STATUS, illegal);
        assert_eq!(driver.read(reg::STATUS), 0);
    }
    driver.write(reg::STATUS, 1);
    driver.write(reg::STATUS, 11);
    assert_eq!(driver.read(reg::STATUS), 1);
}

#[test]
fn features_that_were_not_offered_are_not_ok() {
    let mut driver = Driver::new(Rng::default());
    driver.write(reg::STATUS, 1);
    driver.write(reg::STATUS, 3);
    driver.write(reg::DRIVER_FEATURES, 1 << 23);
    driver.write(reg::DRIVER_FEATURES_SEL, 1);
    driver.write(reg::DRIVER_FEATURES, 1);
    driver.write(reg::STATUS, 11);
    assert_eq!(driver.read(reg::STATUS), 3);
}

#[test]
fn a_legacy_driver_gets_no_further_than_its_features() {
    let mut driver = Driver::new(Rng::default());
    driver.write(reg::STATUS, 1);
    driver.write(reg::STATUS, 3);
    driver.write(reg::STATUS, 11);
    assert_eq!(driver.read(reg::STATUS), 3);
}

#[test]
fn queues_that_make_no_sense_need_a_reset() {
    let spoil: [fn(&mut Driver); 4] = [
        |driver| driver.write(reg::QUEUE_NUM, 3),
        |driver| driver.write(reg::QUEUE_DESC_HIGH, 0xffff_ffff),
        |driver| driver.write(reg::QUEUE_DEVICE_LOW, 0x3f_ffff),
        |driver| driver.write(reg::QUEUE_READY, 0),
    ];
    for spoil in spoil {
        let mut driver = Driver::new(Rng::default());
        driver.negotiate();
        driver.set_up_queues();
        driver.write(reg::QUEUE_SEL, 0);
        if driver.read(reg::QUEUE_READY) == 1 {
            driver.write(reg::QUEUE_READY, 0);
            driver.write(reg::QUEUE_READY, 1);
        }
        spoil(&mut driver);
        driver.write(reg::STATUS, 15);
        // Whatever became of the queue, the device serves what is offered or asks for a reset.
        driver.offer(0, 0, &[writable(BUFFERS, 8)]);
        driver.notify(0);
        let status = driver.read(reg::STATUS);
        assert!(
            status & reg::NEEDS_RESET != 0 || driver.used(0).len() <= 1,
            "{status:#x}"
        );
    }
}

#[test]
fn a_reset_gives_a_new_device() {
    let mut driver = Driver::ready(Rng::default());
    driver.write(reg::STATUS, 0);
    assert_eq!(driver.read(reg::STATUS), 0);
    assert_eq!(driver.read(reg::QUEUE_READY), 0);
    driver.notify(0);
    driver.negotiate();
    assert_eq!(driver.read(reg::STATUS), 11);
}

#[test]
fn interrupts_are_acknowledged() {
    let mut driver = Driver::ready(Rng::default());
    driver.offer(0, 0, &[writable(BUFFERS, 8)]);
    driver.notify(0);
    assert!(driver.interrupted());
    assert_eq!(driver.read(reg::INTERRUPT_STATUS), 1);
    driver.write(reg::INTERRUPT_ACK, 1);
    assert_eq!(driver.read(reg::INTERRUPT_STATUS), 0);
}

#[test]
fn accesses_of_other_widths_and_beyond_the_end_are_harmless() {
    use crate::kvm::bus::BusDevice;
    let mut driver = Driver::ready(Rng::default());
    for offset in [0, 1, 0x70, 0xff, 0x100, 0xfff] {
        for width in [1, 2, 4, 8] {
            let mut data = vec![0xaa; width];
            driver.transport.read(offset, &mut data);
            if offset != reg::STATUS {
                driver.transport.write(offset, &data);
            }
        }
    }
    driver.notify(999);
    assert_eq!(driver.read(reg::STATUS), 15);
}
