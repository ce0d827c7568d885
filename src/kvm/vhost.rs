//! vhost (linux/vhost.h): the host's kernel serves queues of a virtio device itself, in guest memory.

use std::ffi::{c_int, c_uint, c_ulong};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::ioctl::{Opcode, opcode};
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::memory::Mem;
use crate::sys::check;

/// What moves frames of a TAP interface.
pub const NET_PATH: &str = "/dev/vhost-net";

/// The letter of its requests.
const GROUP: u8 = 0xaf;

const GET_FEATURES: Opcode = opcode::read::<u64>(GROUP, 0x00);
const SET_FEATURES: Opcode = opcode::write::<u64>(GROUP, 0x00);
const SET_OWNER: Opcode = opcode::none(GROUP, 0x01);
/// `struct vhost_memory` without its regions: two numbers.
const SET_MEM_TABLE: Opcode = opcode::write::<[u32; 2]>(GROUP, 0x03);
const SET_VRING_NUM: Opcode = opcode::write::<State>(GROUP, 0x10);
const SET_VRING_ADDR: Opcode = opcode::write::<Addresses>(GROUP, 0x11);
const SET_VRING_BASE: Opcode = opcode::write::<State>(GROUP, 0x12);
const GET_VRING_BASE: Opcode = opcode::read_write::<State>(GROUP, 0x12);
const SET_VRING_KICK: Opcode = opcode::write::<File>(GROUP, 0x20);
const SET_VRING_CALL: Opcode = opcode::write::<File>(GROUP, 0x21);
const SET_VRING_ERR: Opcode = opcode::write::<File>(GROUP, 0x22);
const NET_SET_BACKEND: Opcode = opcode::write::<File>(GROUP, 0x30);

/// Most regions of guest memory: below the gap, and behind it.
const MOST_REGIONS: usize = 2;

/// `struct vhost_vring_state`.
#[repr(C)]
struct State {
    index: c_uint,
    number: c_uint,
}

/// `struct vhost_vring_file`.
#[repr(C)]
struct File {
    index: c_uint,
    file: c_int,
}

/// `struct vhost_vring_addr`.
#[repr(C)]
struct Addresses {
    index: c_uint,
    flags: c_uint,
    descriptors: u64,
    used: u64,
    available: u64,
    log: u64,
}

/// `struct vhost_memory_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    guest: u64,
    len: u64,
    host: u64,
    padding: u64,
}

/// `struct vhost_memory`, with as many regions as there may be.
#[repr(C)]
struct Table {
    count: u32,
    padding: u32,
    regions: [Region; MOST_REGIONS],
}

/// A split virtqueue (virtio 1.2, 2.7), as its driver set it up.
#[derive(Debug, Clone, Copy)]
pub struct Ring {
    /// Its entries.
    pub size: u16,
    /// The number of the next chain that is taken from it.
    pub next: u16,
    /// Its descriptor table.
    pub descriptors: GuestAddress,
    /// Its available ring.
    pub available: GuestAddress,
    /// Its used ring.
    pub used: GuestAddress,
}

/// The events of a queue.
#[derive(Debug, Clone, Copy)]
pub struct Events<'a> {
    /// By which the driver calls.
    pub kick: BorrowedFd<'a>,
    /// By which it is called.
    pub call: BorrowedFd<'a>,
    /// By which the kernel says that the queue makes no sense.
    pub error: BorrowedFd<'a>,
}

/// What moves the frames of one card.
#[derive(Debug)]
pub struct VhostNet {
    file: OwnedFd,
    // Stays mapped as long as the kernel may write to it.
    mem: Mem,
}

/// Opens what one process makes its own, and which knows all of `needed`, virtio's feature bits.
pub fn open_net(needed: u64) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let file = openat(CWD, NET_PATH, flags, Mode::empty())?;
    match needed & !features(file.as_fd())? {
        0 => Ok(file),
        _ => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
    }
}

impl VhostNet {
    /// Makes `file` this process's own, for guests in `mem`.
    pub fn adopt(file: OwnedFd, mem: &Mem) -> io::Result<Self> {
        // SAFETY: it takes no argument; from here on the kernel may use this process's memory, where it is told to.
        check(unsafe { libc::ioctl(file.as_raw_fd(), request(SET_OWNER)) })?;
        let vhost = Self {
            file,
            mem: Mem::clone(mem),
        };
        vhost.set_memory()?;
        Ok(vhost)
    }

    /// The driver has chosen `features` of them.
    pub fn begin(&self, features: u64) -> io::Result<()> {
        self.tell(SET_FEATURES, &features)
    }

    /// Hands over queue number `index`; it is served from [`VhostNet::attach`] on. EFAULT where it is not in guest memory.
    pub fn set_up(&self, index: u32, ring: &Ring, events: Events<'_>) -> io::Result<()> {
        let state = |number: u16| State {
            index,
            number: number.into(),
        };
        let file = |event: BorrowedFd<'_>| File {
            index,
            file: event.as_raw_fd(),
        };
        // Both sides' index and flags, and an event index behind the entries (2.7.6, 2.7.8).
        let entries = usize::from(ring.size);
        let addresses = Addresses {
            index,
            flags: 0,
            descriptors: self.place(ring.descriptors, 16 * entries)?,
            used: self.place(ring.used, 6 + 8 * entries)?,
            available: self.place(ring.available, 6 + 2 * entries)?,
            log: 0,
        };
        self.tell(SET_VRING_NUM, &state(ring.size))?;
        self.tell(SET_VRING_BASE, &state(ring.next))?;
        self.tell(SET_VRING_ADDR, &addresses)?;
        self.tell(SET_VRING_CALL, &file(events.call))?;
        self.tell(SET_VRING_ERR, &file(events.error))?;
        self.tell(SET_VRING_KICK, &file(events.kick))
    }

    /// Serves queue number `index` for the interface of `tap`.
    pub fn attach(&self, index: u32, tap: BorrowedFd<'_>) -> io::Result<()> {
        let file = tap.as_raw_fd();
        self.tell(NET_SET_BACKEND, &File { index, file })
    }

    /// No longer serves queue number `index`, and lets go of the interface; the number of the chain that would be next.
    pub fn detach(&self, index: u32) -> io::Result<u16> {
        self.tell(NET_SET_BACKEND, &File { index, file: -1 })?;
        let mut state = State { index, number: 0 };
        let (file, request) = (self.file.as_raw_fd(), request(GET_VRING_BASE));
        // SAFETY: it reads and writes one State, which outlives the call.
        check(unsafe { libc::ioctl(file, request, &raw mut state) })?;
        // Of a split queue it is 16 bits.
        Ok(u16::try_from(state.number & 0xffff).expect("16 bits"))
    }

    fn set_memory(&self) -> io::Result<()> {
        let mut regions = [Region::default(); MOST_REGIONS];
        for (slot, region) in regions.iter_mut().zip(self.mem.iter()) {
            *slot = Region {
                guest: region.start_addr().raw_value(),
                len: region.len(),
                host: region.as_ptr() as u64,
                padding: 0,
            };
        }
        let count = self.mem.num_regions();
        if count > MOST_REGIONS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let table = Table {
            count: u32::try_from(count).expect("there are few"),
            padding: 0,
            regions,
        };
        self.tell(SET_MEM_TABLE, &table)
    }

    /// Where `len` bytes of guest memory are in this process: all of them, one behind another.
    fn place(&self, start: GuestAddress, len: usize) -> io::Result<u64> {
        let slice = self.mem.get_slice(start, len);
        let slice = slice.map_err(|_| io::Error::from_raw_os_error(libc::EFAULT))?;
        Ok(slice.ptr_guard_mut().as_ptr() as u64)
    }

    /// Makes a request that reads `value`.
    fn tell<T>(&self, opcode: Opcode, value: &T) -> io::Result<()> {
        let pointer: *const T = value;
        // SAFETY: each request here reads what its structure says, which is `value`, and writes nothing. What the kernel
        // will use are descriptors, of which it takes references, and guest memory: as was checked where it was asked for,
        // and mapped as long as the process lives.
        check(unsafe { libc::ioctl(self.file.as_raw_fd(), request(opcode), pointer) })
    }
}

fn features(file: BorrowedFd<'_>) -> io::Result<u64> {
    let mut features = 0u64;
    // SAFETY: it writes one u64, which outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request(GET_FEATURES), &raw mut features) })?;
    Ok(features)
}

fn request(opcode: Opcode) -> c_ulong {
    c_ulong::from(opcode)
}
