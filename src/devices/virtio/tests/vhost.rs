//! The network device whose frames the host's kernel moves: with a kernel that does, and an interface of its own.

use std::ffi::CString;
use std::net::{SocketAddrV6, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use super::driver::{BUFFERS, Driver, memory, readable, writable};
use super::net::{begin_with, until, used};
use crate::devices::virtio::net::header::HEADER_LEN;
use crate::devices::virtio::net::{KERNEL_FEATURES, Vhost};
use crate::devices::virtio::registers as reg;
use crate::kvm::vhost;
use crate::sys::interfaces::Interface;
use crate::sys::tun;

const RX: usize = 0;
const TX: usize = 1;

/// VIRTIO_NET_F_MRG_RXBUF.
const MERGING: u32 = 1 << 15;

/// A driver that has begun; nothing where this host cannot.
fn ready() -> Option<(Driver, String)> {
    let file = vhost::open_net(KERNEL_FEATURES);
    let tap = tun::tap(c"husk%d", HEADER_LEN);
    let (Ok(file), Ok(tap)) = (file, tap) else {
        eprintln!("not run: this host moves no frames for us");
        return None;
    };
    let name = tun::name(tap.as_fd()).unwrap();
    // Its memory is what the kernel is told of: it is there before the device.
    let mem = memory();
    let device = Vhost::new(tap, file, &mem).unwrap();
    Some((begin_with(Driver::within(mem, device), MERGING), name))
}

/// Has the host send something to everybody behind the interface called `name`, which may take it a while to be able to.
fn greet(name: &str) {
    let index = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).unwrap();
    let everybody = SocketAddrV6::new(
        "ff02::1".parse().unwrap(),
        9,
        0,
        index.trim().parse().unwrap(),
    );
    let socket = UdpSocket::bind("[::]:0").unwrap();
    until(|| socket.send_to(b"hello", everybody).ok());
}

fn send(driver: &mut Driver) {
    // To everybody, of a kind for experiments (IEEE 802).
    let mut frame = [0xff; HEADER_LEN + 60];
    frame[..HEADER_LEN].fill(0);
    frame[HEADER_LEN + 6..HEADER_LEN + 14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    driver.put(BUFFERS, &frame);
    driver.offer(TX, 0, &[readable(BUFFERS, 72)]);
    driver.notify(TX);
    assert_eq!(used(driver, TX, 1), [(0, 0)]);
}

#[test]
fn frames_go_both_ways_before_a_reset_and_after_it() {
    let Some((mut driver, name)) = ready() else {
        return;
    };
    // Used buffers are told of without a cause: it is always there while the driver runs.
    assert_eq!(driver.read(reg::INTERRUPT_STATUS), 1);
    let c_name = CString::new(name.as_str()).unwrap();
    Interface::find(&c_name).unwrap().bring_up().unwrap();
    for _ in 0..3 {
        send(&mut driver);
        for slot in 0..8 {
            let at = BUFFERS + 0x1000 * (1 + u64::from(slot));
            driver.offer(RX, slot, &[writable(at, 2000)]);
        }
        driver.notify(RX);
        greet(&name);
        let (head, len) = used(&mut driver, RX, 1)[0];
        assert!(head == 0 && len > 60, "{head} {len}");
        driver.write(reg::STATUS, 0);
        assert_eq!(driver.read(reg::INTERRUPT_STATUS), 0);
        driver.restart();
        // What was offered before is nobody's now.
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!((driver.used(RX), driver.used(TX)), (vec![], vec![]));
    }
}

#[test]
fn what_makes_no_sense_stops_the_device() {
    let Some((mut driver, _)) = ready() else {
        return;
    };
    driver.offer(TX, 0, &[readable(1 << 40, 100)]);
    driver.notify(TX);
    until(|| {
        driver.transport.poll();
        (driver.read(reg::STATUS) & reg::NEEDS_RESET != 0).then_some(())
    });
    driver.restart();
    send(&mut driver);
}
