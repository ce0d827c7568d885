//! Sockets, and the loopback interface.

use std::ffi::c_int;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{Errno, Result, check, count};

/// A new socket; close-on-exec always.
pub fn open(family: c_int, kind: c_int) -> Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A non-blocking socket on its way to a vsock address.
pub fn connect_vsock(cid: u32, port: u32) -> Result<OwnedFd> {
    let socket = open(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_NONBLOCK)?;
    // SAFETY: every field of the address is an integer, for which zero is a value.
    let mut address: libc::sockaddr_vm = unsafe { MaybeUninit::zeroed().assume_init() };
    address.svm_family = libc::sa_family_t::try_from(libc::AF_VSOCK).expect("AF_VSOCK is 40");
    address.svm_cid = cid;
    address.svm_port = port;
    let length = libc::socklen_t::try_from(mem::size_of_val(&address)).expect("16 bytes");
    let address = ptr::from_ref(&address).cast();
    // SAFETY: `address` points to a whole address of that length, alive to the end of this function.
    match check(unsafe { libc::connect(socket.as_raw_fd(), address, length) }) {
        Ok(_) | Err(Errno(libc::EINPROGRESS)) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Sends, without a SIGPIPE.
pub fn send(to: &OwnedFd, bytes: &[u8]) -> Result<usize> {
    let (data, length) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: the bytes are readable for their whole length.
    count(unsafe { libc::send(to.as_raw_fd(), data, length, libc::MSG_NOSIGNAL) })
}

/// The error of a connection that did not come about.
pub fn pending_error(of: &OwnedFd) -> Errno {
    let mut error: c_int = 0;
    let mut length = libc::socklen_t::try_from(mem::size_of_val(&error)).expect("4 bytes");
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ERROR);
    let value = ptr::from_mut(&mut error).cast();
    // SAFETY: `value` points to an integer and `length` says so.
    let asked = unsafe { libc::getsockopt(of.as_raw_fd(), level, name, value, &mut length) };
    match check(asked) {
        Ok(_) => Errno(error),
        Err(error) => error,
    }
}

/// Brings the loopback interface up; the kernel gives it its addresses.
pub fn loopback_up() -> Result<()> {
    let socket = open(libc::AF_INET, libc::SOCK_DGRAM)?;
    // SAFETY: every field of the request is an integer or a union of them: zero is a value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = libc::c_char::try_from(*from).expect("ASCII");
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).expect("a low bit");
    let request = ptr::from_ref(&request);
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, request) }).map(drop)
}
