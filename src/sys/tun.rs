//! Network interfaces whose cable ends in a program (Linux's Documentation/networking/tuntap.rst).

use std::ffi::{CStr, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};

/// What makes them.
pub const PATH: &str = "/dev/net/tun";

/// A new Ethernet interface called `name` in this process's network namespace, which is gone when the descriptor
/// is. Reading takes a frame that it sends, writing gives it one to receive, and neither waits. Before each frame,
/// both ways, is a `struct virtio_net_hdr` of so many bytes; checksums may be left unfinished.
pub fn tap(name: &CStr, header_len: usize) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let tap = openat(CWD, PATH, flags, Mode::empty())?;
    // SAFETY: every field of the request is an integer or a union of them: zero is a value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    let bytes = name.to_bytes();
    if bytes.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let kind = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(kind).expect("bits of a short");
    let length = c_int::try_from(header_len).map_err(|_| io::ErrorKind::InvalidInput)?;
    let fd = tap.as_raw_fd();
    // SAFETY: TUNSETIFF reads and writes one ifreq, which outlives the call.
    check(unsafe { libc::ioctl(fd, libc::TUNSETIFF, &raw mut request) })?;
    // SAFETY: TUNSETVNETHDRSZ reads one int, which outlives the call.
    check(unsafe { libc::ioctl(fd, libc::TUNSETVNETHDRSZ, &raw const length) })?;
    // SAFETY: TUNSETOFFLOAD takes a number, and no memory.
    check(unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD, libc::TUN_F_CSUM) })?;
    Ok(tap)
}

fn check(answer: c_int) -> io::Result<()> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
