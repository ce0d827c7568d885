//! `cargo bench --bench stdio [-- MIB]`: what carrying a machine's stdout and stdin costs the host, in MiB a
//! second, of the clock's and of the processors' time, and in instructions a MiB.
//!
//! ```text
//!  a driver's rings ─▶ socket device ─▶ Unix socket ─▶ relay of `husk run` ─▶ /dev/null     stdout
//!  a driver's rings ◀─ socket device ◀─ Unix socket ◀─ relay of `husk run` ◀─ a file        stdin
//! ```
//!
//! The device and the relay are the product's; the driver does here what Linux's does, with buffers of Linux's
//! sizes, and next to no work of its own. The processors' time is all of the process's: both threads', in the host's
//! kernel and outside of it. Instructions are those outside of the host's kernel, the driver's
//! included, and need valgrind: callgrind counts two lengths, and the difference is what a MiB takes.

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use husk::devices::virtio::mmio::Transport;
use husk::devices::virtio::vsock::{Connector, Vsock};
use husk::kvm::bus::BusDevice;
use husk::kvm::line::Line;
use husk::kvm::memory::Mem;
use husk::sessions::{Client, Stdio};
use husk_init::frame::{GUEST_CID, HOST_CID, PORT, Stream};
use husk_init::job::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// MiB each way unless said otherwise.
const USUAL: u64 = 1024;

/// MiB that callgrind counts, which takes fifty times as long: the fewer, and the more.
const COUNTED: [u64; 2] = [16, 48];

/// Queues of the device (virtio 1.2, 5.10.2).
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const QUEUES: usize = 3;

/// Entries of each queue.
const SIZE: u16 = 16;

/// Where queues and buffers lie in the guest's memory.
const MEMORY: usize = 8 << 20;
const RINGS: u64 = 0x1_0000;
const BUFFERS: u64 = 0x10_0000;

/// A header (5.10.6).
const HEADER: u32 = 44;

/// What Linux gives for one packet: a page, without what it keeps for itself there (VIRTIO_VSOCK_DEFAULT_RX_BUF_SIZE).
const RECEIVED: u32 = 4096 - 320;

/// What Linux sends at most in one, and what a stream of Linux's holds (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE,
/// VIRTIO_VSOCK_DEFAULT_BUFFER_SIZE).
const SENT: u32 = 64 << 10;
const HELD: u32 = 256 << 10;

/// VIRTIO_VSOCK_OP_*.
const REQUEST: u16 = 1;
const SHUTDOWN: u16 = 4;
const RW: u16 = 5;
const CREDIT: u16 = 6;

fn main() {
    let words: Vec<String> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let mib = |word: &String| word.parse().expect("a number of MiB");
    match words.as_slice() {
        [way, length] if way == "stdout" => drop(carry_out(mib(length))),
        [way, length] if way == "stdin" => drop(carry_in(mib(length))),
        words => report(words.first().map_or(USUAL, mib)),
    }
}

fn report(mib: u64) {
    for name in ["stdout", "stdin"] {
        let before = processors();
        let took = match name {
            "stdout" => carry_out(mib),
            _ => carry_in(mib),
        };
        let worked = processors() - before;
        let [rate, cost] = [took, worked].map(|time| mib as f64 / time.as_secs_f64());
        let counted = match count(name) {
            Some(count) => format!("{count} instructions a MiB"),
            None => "instructions not counted: no valgrind".to_owned(),
        };
        println!("{name}: {rate:.0} MiB/s, {cost:.0} MiB for a second of processors, {counted}");
    }
}

/// What this process has had of the processors.
fn processors() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("it never goes back")
}

/// Instructions for a MiB of `way`, by callgrind.
fn count(way: &str) -> Option<u64> {
    let [fewer, more] = COUNTED.map(|mib| collect(way, mib));
    Some((more? - fewer?) / (COUNTED[1] - COUNTED[0]))
}

/// Instructions of a whole run.
fn collect(way: &str, mib: u64) -> Option<u64> {
    let this = env::current_exe().expect("this file is there");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args([way, &mib.to_string()])
        .output();
    let words = String::from_utf8_lossy(&output.ok()?.stderr).into_owned();
    let line = words
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    line?.1.trim().parse().ok()
}

/// Carries so many MiB from the guest to the user.
fn carry_out(mib: u64) -> Duration {
    let stdout = File::create("/dev/null").expect("/dev/null is there");
    let mut guest = Guest::connected();
    let begun = Instant::now();
    let relay = guest.relay(Stream::Stdout, [null(), stdout, null()]);
    let mut left = mib << 20;
    while left > 0 {
        left -= guest.send_data(left);
        guest.serve(left > 0);
    }
    guest.say(SHUTDOWN, 2);
    while !relay.is_finished() {
        guest.serve(true);
    }
    relay.join().expect("the relay does not panic");
    begun.elapsed()
}

/// Carries so many MiB from the user to the guest.
fn carry_in(mib: u64) -> Duration {
    let stdin = tempfile::tempfile().expect("a temporary file");
    stdin.set_len(mib << 20).expect("a file of holes");
    let mut guest = Guest::connected();
    let begun = Instant::now();
    let relay = guest.relay(Stream::Stdin, [stdin, null(), null()]);
    while !guest.at_end {
        guest.serve(true);
    }
    let took = begun.elapsed();
    assert_eq!(guest.received, mib << 20, "all of it came");
    relay.join().expect("the relay does not panic");
    took
}

fn null() -> File {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .expect("/dev/null is there")
}

/// Gives the other end of each connection to the bench.
struct Ends(Sender<UnixStream>);

impl Connector for Ends {
    fn connect(&self, _port: u32) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        self.0.send(theirs).map_err(io::Error::other)?;
        Ok(ours)
    }
}

/// A line that nobody listens to: the driver looks by itself.
#[derive(Debug)]
struct Unheard;

impl Line for Unheard {
    fn pulse(&self) {}
}

/// A guest with one stream.
struct Guest {
    transport: Transport,
    mem: Mem,
    end: Option<UnixStream>,
    /// Per queue: chains offered, and taken back, in all.
    offered: [u16; QUEUES],
    taken: [u16; QUEUES],
    /// Bytes sent and received, and of those how many the device knows of.
    sent: u64,
    received: u64,
    told: u64,
    /// Bytes that the device has passed on, modulo 2^32, and how many it holds.
    passed: u32,
    room: u32,
    at_end: bool,
}

impl Guest {
    /// One whose stream is connected.
    fn connected() -> Self {
        let (sender, ends) = channel();
        let mem: Mem = Arc::new(
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("8 MiB of memory"),
        );
        let device = Vsock::new(Box::new(Ends(sender))).expect("an epoll");
        let transport = Transport::new(Box::new(device), Arc::clone(&mem), Box::new(Unheard));
        let mut guest = Self {
            transport,
            mem,
            end: None,
            offered: [0; QUEUES],
            taken: [0; QUEUES],
            sent: 0,
            received: 0,
            told: 0,
            passed: 0,
            room: 0,
            at_end: false,
        };
        guest.set_up();
        for slot in 0..SIZE {
            guest.offer(RECEIVE, slot);
        }
        guest.notify(RECEIVE);
        guest.say(REQUEST, 0);
        guest.end = ends.try_recv().ok();
        guest.serve(false);
        assert_eq!(
            guest.room, HELD,
            "the device answers, and says what it holds"
        );
        guest
    }

    /// Resets the device and gives it its queues (3.1.1, 4.2.3), and lays out descriptors once and for all: a
    /// writable one for each buffer that is received into, and pairs of a header and data for what is sent.
    fn set_up(&mut self) {
        for (register, value) in [
            (0x70, 0),
            (0x70, 1),
            (0x70, 3),
            (0x24, 1),
            (0x20, 1),
            (0x70, 11),
        ] {
            self.write(register, value);
        }
        for queue in 0..QUEUES {
            let base = u32::try_from(rings(queue)).expect("rings lie low");
            self.write(0x30, u32::try_from(queue).expect("three queues"));
            for (register, value) in [
                (0x38, u32::from(SIZE)),
                (0x80, base),
                (0x90, base + 0x4000),
                (0xa0, base + 0x8000),
                (0x44, 1),
            ] {
                self.write(register, value);
            }
        }
        for slot in 0..SIZE {
            self.describe(RECEIVE, slot, (buffer(RECEIVE, slot), RECEIVED), (2, 0));
        }
        for slot in (0..SIZE).step_by(2) {
            let at = buffer(TRANSMIT, slot);
            self.describe(TRANSMIT, slot, (at, HEADER), (1, slot + 1));
            self.describe(TRANSMIT, slot + 1, (at + 0x1000, SENT), (0, 0));
        }
        self.write(0x70, 15);
    }

    fn describe(&self, queue: usize, slot: u16, (at, len): (u64, u32), (flags, next): (u16, u16)) {
        let mut words = [0; 16];
        words[..8].copy_from_slice(&at.to_le_bytes());
        words[8..12].copy_from_slice(&len.to_le_bytes());
        words[12..14].copy_from_slice(&flags.to_le_bytes());
        words[14..].copy_from_slice(&next.to_le_bytes());
        self.put(rings(queue) + 16 * u64::from(slot), &words);
    }

    /// Carries a stream of the guest's as `husk run` does, on a thread of its own.
    fn relay(&mut self, stream: Stream, files: [File; 3]) -> thread::JoinHandle<()> {
        let stdio = Stdio::from(files.map(Into::into));
        let process = Process {
            stdin: true,
            ..Process::default()
        };
        let client = Client::new(stdio, &process).expect("a pipe");
        let end = self.end.take().expect("the device has connected");
        thread::spawn(move || client.carry(stream, end).expect("the user's files work"))
    }

    /// Sends what the device has room for, at most `left` bytes; how many.
    fn send_data(&mut self, left: u64) -> u64 {
        let before = self.sent;
        while self.sent - before < left && self.in_flight() + SENT <= self.room {
            self.transmit(RW, SENT, 0);
            self.sent += u64::from(SENT);
        }
        if self.sent > before {
            self.notify(TRANSMIT);
        }
        self.sent - before
    }

    fn in_flight(&self) -> u32 {
        low(self.sent).wrapping_sub(self.passed)
    }

    /// Sends a packet without data.
    fn say(&mut self, op: u16, flags: u32) {
        self.transmit(op, 0, flags);
        self.notify(TRANSMIT);
    }

    /// Takes what the device has for the guest; if that is nothing, and the guest `waits`, soon.
    fn serve(&mut self, waits: bool) {
        let glance = Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        self.taken[TRANSMIT] = self.used(TRANSMIT);
        if self.take_packets() == 0 {
            let source = self.transport.source().expect("sockets are watched");
            let mut entry = [PollFd::new(&source, PollFlags::IN)];
            let ready = poll(&mut entry, Some(if waits { &glance } else { &now }));
            if ready.is_ok_and(|count| count > 0) {
                self.transport.poll();
            }
        }
    }

    /// Takes what was received, and gives the buffers back; how many packets.
    fn take_packets(&mut self) -> usize {
        let used = self.used(RECEIVE);
        let mut count = 0;
        while self.taken[RECEIVE] != used {
            let place = 4 + 8 * u64::from(self.taken[RECEIVE] % SIZE);
            let mut entry = [0; 2];
            self.get(rings(RECEIVE) + 0x8000 + place, &mut entry);
            let slot = u16::from_le_bytes(entry);
            self.take(slot);
            self.taken[RECEIVE] = self.taken[RECEIVE].wrapping_add(1);
            self.offer(RECEIVE, slot);
            count += 1;
        }
        if count > 0 {
            self.notify(RECEIVE);
            // As Linux does, when there would not be room for another packet of the largest.
            if self.received - self.told > u64::from(HELD - SENT) {
                self.say(CREDIT, 0);
            }
        }
        count
    }

    /// Reads a header.
    fn take(&mut self, slot: u16) {
        let mut header = [0; HEADER as usize];
        self.get(buffer(RECEIVE, slot), &mut header);
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        (self.room, self.passed) = (word(36), word(40));
        self.received += u64::from(word(24));
        let op = u16::from_le_bytes([header[30], header[31]]);
        self.at_end |= op == SHUTDOWN && word(32) & 2 != 0;
    }

    /// Puts a packet of `len` bytes of data into the queue.
    fn transmit(&mut self, op: u16, len: u32, flags: u32) {
        let slot = 2 * (self.offered[TRANSMIT] % (SIZE / 2));
        self.told = self.received;
        let mut header = [0; HEADER as usize];
        header[..8].copy_from_slice(&u64::from(GUEST_CID).to_le_bytes());
        header[8..16].copy_from_slice(&u64::from(HOST_CID).to_le_bytes());
        header[28] = 1;
        header[30..32].copy_from_slice(&op.to_le_bytes());
        let words = [
            (16, 50),
            (20, PORT),
            (24, len),
            (32, flags),
            (36, HELD),
            (40, low(self.received)),
        ];
        for (at, word) in words {
            header[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        self.put(buffer(TRANSMIT, slot), &header);
        self.offer(TRANSMIT, slot);
    }

    /// Makes the chain at `slot` available.
    fn offer(&mut self, queue: usize, slot: u16) {
        let ring = rings(queue) + 0x4000;
        let place = 4 + 2 * u64::from(self.offered[queue] % SIZE);
        self.put(ring + place, &slot.to_le_bytes());
        self.offered[queue] = self.offered[queue].wrapping_add(1);
        self.put(ring + 2, &self.offered[queue].to_le_bytes());
    }

    /// How many chains the device has given back.
    fn used(&self, queue: usize) -> u16 {
        let mut index = [0; 2];
        self.get(rings(queue) + 0x8002, &mut index);
        u16::from_le_bytes(index)
    }

    fn notify(&mut self, queue: usize) {
        self.transport
            .notify(u16::try_from(queue).expect("three queues"));
    }

    fn write(&mut self, register: u64, value: u32) {
        self.transport.write(register, &value.to_le_bytes());
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        let put = self.mem.write_slice(bytes, GuestAddress(at));
        put.expect("it lies in the guest's memory");
    }

    fn get(&self, at: u64, bytes: &mut [u8]) {
        let got = self.mem.read_slice(bytes, GuestAddress(at));
        got.expect("it lies in the guest's memory");
    }
}

fn rings(queue: usize) -> u64 {
    RINGS * (queue as u64 + 1)
}

/// Where the buffer of a slot is.
fn buffer(queue: usize, slot: u16) -> u64 {
    BUFFERS + (queue as u64 * u64::from(SIZE) + u64::from(slot)) * 0x2_0000
}

/// The lower half.
fn low(count: u64) -> u32 {
    u32::try_from(count & u64::from(u32::MAX)).expect("half of 64 bits")
}
