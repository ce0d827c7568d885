//! PID 1 of a husk guest. Read [`pid1`] first: it is the whole story on one page.

#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "tests run the parts, not the story"))]

#[cfg(test)]
mod alone;
mod control;
mod identity;
mod kmsg;
mod mounts;
mod network;
mod pid1;
mod probe;
mod reap;
mod relay;
mod root;
mod session;
mod sessions;
mod shares;
mod spawn;
mod stream;
mod terminal;
mod vsock;

#[cfg(not(test))]
use std::env;
#[cfg(not(test))]
use std::ffi::{CStr, CString};
#[cfg(not(test))]
use std::os::unix::ffi::OsStringExt;

#[cfg(not(test))]
use husk_init::archive::program;
#[cfg(not(test))]
use husk_init::sys::file;

/// Called by libc itself, with one word, as init, or as a program of init's own ([`archive::program`]). Rust's own start would look at the standard streams, install signal
/// handlers and map a signal stack: a dozen system calls that a machine with one process can save.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main(_count: libc::c_int, words: *const *const libc::c_char) -> libc::c_int {
    // SAFETY: libc passes at least a null.
    let called = unsafe { *words };
    if !called.is_null() {
        // SAFETY: libc's words end with a zero, and live as long as the process.
        let called = unsafe { CStr::from_ptr(called) };
        if called.to_bytes() == program::NAME.as_bytes() {
            return beside();
        }
    }
    pid1::run()
}

/// Is the program that the words say.
#[cfg(not(test))]
#[cold]
fn beside() -> libc::c_int {
    let words: Vec<_> = env::args_os().map(OsStringExt::into_vec).collect();
    let upper = env::var_os(program::UPPER).and_then(|path| {
        let path = CString::new(path.into_vec()).ok()?;
        file::open(&path, libc::O_RDONLY | libc::O_DIRECTORY, 0).ok()
    });
    program::run(&words, upper).into()
}
