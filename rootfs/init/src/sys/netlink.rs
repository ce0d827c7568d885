//! Routing messages to the kernel (netlink(7), rtnetlink(7)).

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use super::socket::{self, open};
use super::{Errno, Result, check, count};

/// The socket for them.
pub fn routes() -> Result<OwnedFd> {
    open(libc::AF_NETLINK, libc::SOCK_RAW)
}

/// Hands messages to the kernel, which carries them out, in their order, before this returns.
pub fn request(socket: &OwnedFd, messages: &[u8]) -> Result<()> {
    // To the kernel, which is everybody's peer until another is named.
    socket::send(socket, messages).map(drop)
}

/// The next answer, if there is one.
pub fn answer(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    let (data, length) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the buffer is writable for its whole length.
    count(unsafe { libc::recv(socket.as_raw_fd(), data, length, libc::MSG_DONTWAIT) })
}

/// The number of the interface called `name`.
pub fn index(name: &CStr) -> Result<c_int> {
    let socket = open(libc::AF_INET, libc::SOCK_DGRAM)?;
    // SAFETY: every field of the request is an integer or a union of them: zero is a value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    let bytes = name.to_bytes();
    if bytes.len() >= request.ifr_name.len() {
        return Err(Errno(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // SAFETY: SIOCGIFINDEX reads and writes one ifreq, which outlives the call.
    check(unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFINDEX,
            ptr::from_mut(&mut request),
        )
    })?;
    // SAFETY: the kernel has filled this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex })
}
