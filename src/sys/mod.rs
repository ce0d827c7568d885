//! The words to the host kernel that std lacks, as safe functions.

use std::ffi::c_int;
use std::io;

pub mod cpu_timer;
pub mod fork;
pub mod heap;
pub mod identity;
pub mod interfaces;
pub mod ioctls;
pub mod limits;
pub mod linger;
pub mod lock;
pub mod mounts;
pub mod namespaces;
pub mod panics;
pub mod processes;
mod ptrace;
pub mod seqpacket;
pub mod signals;
pub mod terminal;
pub mod trace;
pub mod tun;

/// What a call of the C library's answered, which says -1 where it fails and why in `errno`.
pub(crate) fn check(answer: c_int) -> io::Result<()> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
