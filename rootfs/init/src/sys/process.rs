//! The machine's own state, and processes.

use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use super::{Result, check};

/// Permissions that new files of init lose: none.
pub fn clear_umask() {
    // SAFETY: takes an integer, cannot fail.
    unsafe { libc::umask(0) };
}

/// Sets the wall clock.
pub fn set_clock(seconds: libc::time_t, nanoseconds: i64) -> Result<()> {
    let time = libc::timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    // SAFETY: `time` is a filled timespec that outlives the call.
    check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) }).map(drop)
}

/// Sets the host name.
pub fn set_hostname(name: &[u8]) -> Result<()> {
    // SAFETY: the bytes are readable for their whole length; no NUL is needed.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Requests of the random devices (linux/random.h).
const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
const RNDRESEEDCRNG: libc::Ioctl = 0x5207;

/// The argument of RNDADDENTROPY (linux/random.h, rand_pool_info) with a 256-bit seed.
#[repr(C)]
struct Entropy {
    credited_bits: c_int,
    byte_count: c_int,
    bytes: [u8; 32],
}

/// Feeds a seed to the kernel's generator, and has the generator use it at once.
pub fn seed(urandom: &OwnedFd, seed: &[u8; 32]) -> Result<()> {
    let entropy = Entropy {
        credited_bits: 256,
        byte_count: 32,
        bytes: *seed,
    };
    let fd = urandom.as_raw_fd();
    let entropy = ptr::from_ref(&entropy);
    // SAFETY: the request reads `byte_count` bytes behind two integers, which is this structure.
    check(unsafe { libc::ioctl(fd, RNDADDENTROPY, entropy) })?;
    // SAFETY: the request takes no argument.
    check(unsafe { libc::ioctl(fd, RNDRESEEDCRNG) }).map(drop)
}

/// Sends a signal; `pid` -1 means everybody but init.
pub fn kill(pid: libc::pid_t, signal: c_int) -> Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Resets the machine; returns only if the kernel refuses.
pub fn restart() {
    // SAFETY: no memory is passed.
    unsafe { libc::reboot(libc::RB_AUTOBOOT) };
}

/// Whether the environment has a variable of this name: the words of the kernel's command line that it did
/// not understand are init's environment.
pub fn has_variable(name: &CStr) -> bool {
    // SAFETY: the name is NUL-terminated, and nothing changes the environment.
    !unsafe { libc::getenv(name.as_ptr()) }.is_null()
}
