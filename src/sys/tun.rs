//! Network interfaces whose cable ends in a program (Linux's Documentation/networking/tuntap.rst).

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::check;
use super::interfaces::set_name;

/// What makes them.
pub const PATH: &str = "/dev/net/tun";

/// `TUN_F_USO4` and `TUN_F_USO6`, since Linux 6.2.
const USO: u32 = 0x60;

/// What of a frame's work whoever reads it will do, so that the kernel need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// Checksums; all others need this one.
    pub checksums: bool,
    /// Segments of TCP over IPv4.
    pub tcp4: bool,
    /// Over IPv6.
    pub tcp6: bool,
    /// Of connections that tell of congestion (RFC 3168).
    pub congestion: bool,
    /// Datagrams of UDP, of both versions.
    pub udp: bool,
}

/// A new Ethernet interface called `name` in this process's network namespace, which is gone when the descriptor
/// is; a `%d` in the name is the next number that is free. Reading takes a frame that it sends, writing gives it one
/// to receive, and neither waits. Before each frame, both ways, is a `struct virtio_net_hdr` of so many bytes;
/// checksums may be left unfinished.
pub fn tap(name: &CStr, header_len: usize) -> io::Result<OwnedFd> {
    let tap = attach(name, 0)?;
    prepare(tap, header_len)
}

/// The cable of the interface called `name`, which exists and outlives this; otherwise as [`tap`].
pub fn open(name: &CStr, header_len: usize) -> io::Result<OwnedFd> {
    let tap = match attach(name, 0) {
        // One that was made for several queues has at least one.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            attach(name, libc::IFF_MULTI_QUEUE)?
        }
        attached => attached?,
    };
    prepare(tap, header_len)
}

/// As [`tap`], with `count` cables: each is read and written by itself, and the kernel answers a flow by the cable by which it
/// came last.
pub fn taps(name: &CStr, count: usize, header_len: usize) -> io::Result<Vec<OwnedFd>> {
    let first = prepare(attach(name, libc::IFF_MULTI_QUEUE)?, header_len)?;
    let own = CString::new(self::name(first.as_fd())?)?;
    let mut all = vec![first];
    all.extend(open_many(&own, count.saturating_sub(1), header_len)?);
    Ok(all)
}

/// `count` cables of the interface called `name`, which exists and outlives them; otherwise as [`taps`]. An error of kind
/// `InvalidInput` where it was made for one.
pub fn open_many(name: &CStr, count: usize, header_len: usize) -> io::Result<Vec<OwnedFd>> {
    let cables = (0..count).map(|_| attach(name, libc::IFF_MULTI_QUEUE));
    cables.map(|tap| prepare(tap?, header_len)).collect()
}

/// Whether frames come by this cable, one of several, from now on.
pub fn set_in_use(tap: BorrowedFd<'_>, is_used: bool) -> io::Result<()> {
    // SAFETY: every field of the request is an integer or a union of them: zero is a value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    let kind = match is_used {
        true => libc::IFF_ATTACH_QUEUE,
        false => libc::IFF_DETACH_QUEUE,
    };
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(kind).expect("bits of a short");
    // SAFETY: TUNSETQUEUE reads one ifreq, which outlives the call.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETQUEUE, &raw const request) })
}

/// Leaves to who reads what it says it does.
pub fn set_offload(tap: BorrowedFd<'_>, offload: Offload) -> io::Result<()> {
    let bits = [
        (offload.checksums, libc::TUN_F_CSUM),
        (offload.tcp4, libc::TUN_F_TSO4),
        (offload.tcp6, libc::TUN_F_TSO6),
        (offload.congestion, libc::TUN_F_TSO_ECN),
        (offload.udp, USO),
    ];
    let bits = bits.iter().filter(|(wanted, _)| *wanted);
    let bits = bits.fold(0, |all, (_, bit)| all | bit);
    // SAFETY: TUNSETOFFLOAD takes a number, and no memory.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, bits) })
}

/// The name of the interface.
pub fn name(tap: BorrowedFd<'_>) -> io::Result<String> {
    // SAFETY: every field of the request is an integer or a union of them: zero is a value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: TUNGETIFF writes one ifreq, which outlives the call.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    let bytes = request.ifr_name.iter().map(|byte| byte.to_ne_bytes()[0]);
    let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn attach(name: &CStr, more: c_int) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let tap = openat(CWD, PATH, flags, Mode::empty())?;
    // SAFETY: every field of the request is an integer or a union of them: zero is a value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    set_name(&mut request, name)?;
    let kind = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | more;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(kind).expect("bits of a short");
    // SAFETY: TUNSETIFF reads and writes one ifreq, which outlives the call.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(tap)
}

fn prepare(tap: OwnedFd, header_len: usize) -> io::Result<OwnedFd> {
    let length = c_int::try_from(header_len).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: TUNSETVNETHDRSZ reads one int, which outlives the call.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const length) })?;
    let checksums = Offload {
        checksums: true,
        ..Offload::default()
    };
    set_offload(tap.as_fd(), checksums)?;
    Ok(tap)
}
