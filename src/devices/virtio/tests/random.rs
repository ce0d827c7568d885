//! Drivers that do anything at all: no device panics, hangs or grows, and a reset makes it work.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};

use super::driver::{BUFFERS, Buffer, Driver, readable, unbounded, writable};
use crate::devices::virtio::blk::{Block, Stitched};
use crate::devices::virtio::registers as reg;
use crate::devices::virtio::rng::Rng;
use crate::devices::virtio::vsock::packet::{HEADER_LEN, Header, TYPE_STREAM, op};
use crate::devices::virtio::vsock::{Connector, Vsock};
use crate::kvm::bus::BusDevice;

/// Something that a driver does.
#[derive(Debug, Clone)]
enum Step {
    Register(u64, u32),
    Access(u64, usize),
    Describe(usize, u16, Buffer, u16, u16),
    Available(usize, u16),
    Index(usize, u16),
    Notify(usize),
    Packet(Header),
    Poll,
    Restart,
}

/// Some streams are full of data, some are closed, some are refused.
struct Hosts(Mutex<Vec<UnixStream>>);

impl Connector for Hosts {
    fn connect(&self, port: u32) -> io::Result<UnixStream> {
        let (ours, mut theirs) = UnixStream::pair()?;
        theirs.write_all(&[7; 5000])?;
        match port % 4 {
            0 => return Err(io::ErrorKind::ConnectionRefused.into()),
            1 => drop(theirs),
            _ => self.0.lock().unwrap().push(theirs),
        }
        Ok(ours)
    }
}

fn device(number: usize) -> Driver {
    match number {
        0 => Driver::ready(Rng::default()),
        1 => {
            let file = tempfile::tempfile().unwrap();
            Driver::ready(Block::new(
                Stitched::new(vec![(file, 1 << 20)]),
                unbounded(),
            ))
        }
        _ => Driver::ready(Vsock::new(Box::new(Hosts(Mutex::default()))).unwrap()),
    }
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..4).prop_map(|slot| BUFFERS + 0x1000 * slot),
        1 => 0u64..0x5_0000,
        1 => any::<u64>(),
        1 => (0u64..32).prop_map(|below| u64::MAX - below),
    ]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![
        3 => prop_oneof![Just(0), Just(1), Just(16), Just(44), Just(45), Just(512), Just(4096)],
        1 => any::<u32>(),
        1 => Just(u32::MAX),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    let op = prop_oneof![4 => 1u16..8, 1 => any::<u16>()];
    let credit = prop_oneof![Just(0), Just(4096), any::<u32>()];
    (
        op,
        0u32..3,
        0u32..8,
        length(),
        0u32..5,
        credit,
        any::<u32>(),
    )
        .prop_map(
            |(op, src_port, dst_port, len, flags, buf_alloc, fwd_cnt)| Header {
                src_cid: 3,
                dst_cid: 2,
                src_port,
                dst_port,
                len: if op == op::RW { len } else { 0 },
                kind: TYPE_STREAM,
                op,
                flags,
                buf_alloc,
                fwd_cnt,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let queue = || 0usize..3;
    let buffer = (address(), length(), any::<bool>()).prop_map(|(address, len, writable)| Buffer {
        address,
        len,
        writable,
    });
    let value = prop_oneof![0u32..16, any::<u32>()];
    prop_oneof![
        1 => (0u64..0x50, value).prop_map(|(word, value)| Step::Register(4 * word, value)),
        1 => (any::<u64>(), 0usize..9).prop_map(|(offset, len)| Step::Access(offset, len)),
        6 => (queue(), 0u16..16, buffer, 0u16..8, 0u16..20)
            .prop_map(|(q, index, buffer, flags, next)| Step::Describe(q, index, buffer, flags, next)),
        4 => (queue(), 0u16..17).prop_map(|(q, head)| Step::Available(q, head)),
        1 => (queue(), any::<u16>()).prop_map(|(q, index)| Step::Index(q, index)),
        4 => queue().prop_map(Step::Notify),
        4 => header().prop_map(Step::Packet),
        2 => Just(Step::Poll),
        1 => Just(Step::Restart),
    ]
}

fn take(driver: &mut Driver, step: Step) {
    let queues = driver.transport.queue_count();
    match step {
        Step::Register(offset, value) => driver.write(offset, value),
        Step::Access(offset, len) => {
            let mut bytes = vec![0; len];
            driver.transport.read(offset, &mut bytes);
            driver.transport.write(offset, &bytes);
        }
        Step::Describe(queue, index, buffer, flags, next) => {
            let flags = flags & !2 | if buffer.writable { 2 } else { 0 };
            driver.describe(queue % queues, index, buffer, flags, next);
        }
        Step::Available(queue, head) => driver.make_available(queue % queues, head),
        Step::Index(queue, index) => driver.set_available_index(queue % queues, index),
        Step::Notify(queue) => driver.notify(queue),
        Step::Packet(header) => {
            driver.put(BUFFERS, &header.encode());
            let len = u32::try_from(HEADER_LEN).unwrap() + header.len.min(4096);
            driver.offer(queues - 1 - queues / 2, 0, &[readable(BUFFERS, len)]);
            driver.notify(queues - 1 - queues / 2);
        }
        Step::Poll => driver.transport.poll(),
        Step::Restart => driver.restart(),
    }
}

/// What each device is for still works.
fn works(driver: &mut Driver, number: usize) {
    driver.restart();
    driver.put(BUFFERS, &[0; 64]);
    let data = writable(BUFFERS + 0x1000, 512);
    let status = writable(BUFFERS + 0x2000, 1);
    let (queue, chain) = match number {
        0 => (0, vec![data]),
        1 => (0, vec![readable(BUFFERS, 16), data, status]),
        _ => (1, vec![readable(BUFFERS, 44)]),
    };
    driver.offer(queue, 0, &chain);
    driver.notify(queue);
    assert_eq!(driver.read(reg::STATUS), 15);
    assert_eq!(driver.used(queue).len(), 1);
}

proptest::proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_driver_breaks_a_device(number in 0usize..3, steps in vec(step(), 0..60)) {
        let mut driver = device(number);
        for step in steps {
            take(&mut driver, step);
        }
        works(&mut driver, number);
    }

    #[test]
    fn no_packets_break_the_socket_device(headers in vec(header(), 0..80)) {
        let mut driver = device(2);
        for (slot, header) in headers.into_iter().enumerate() {
            if slot % 3 == 0 {
                let slot = u16::try_from(slot % 16).unwrap();
                driver.offer(0, slot, &[writable(BUFFERS + 0x1_0000, 0x1000)]);
                driver.notify(0);
            }
            take(&mut driver, Step::Packet(header));
            driver.transport.poll();
        }
        works(&mut driver, 2);
    }
}
