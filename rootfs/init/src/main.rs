//! PID 1 of a husk guest. Read [`pid1`] first: it is the whole story on one page.

#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "tests run the parts, not the story"))]

#[cfg(test)]
mod alone;
mod control;
mod devices;
mod halt;
mod identity;
mod kmsg;
mod mounts;
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
mod tasks;
mod terminal;
mod vsock;
mod waiting;

#[cfg(not(test))]
use std::ffi::CStr;

#[cfg(not(test))]
use husk_init::archive::program;
#[cfg(not(test))]
use husk_init::sys::{self, file};

/// Called by libc itself, with one word, as init, or as a program of init's own ([`archive::program`]). Rust's own start would look at the standard streams, install signal
/// handlers and map a signal stack: a dozen system calls that a machine with one process can save.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main(count: libc::c_int, words: *const *const libc::c_char) -> libc::c_int {
    // SAFETY: libc passes at least a null.
    let called = unsafe { *words };
    if !called.is_null() {
        // SAFETY: libc's words end with a zero, and live as long as the process.
        let called = unsafe { CStr::from_ptr(called) };
        if called.to_bytes() == program::NAME.as_bytes() {
            return beside(&read_words(count, words));
        }
    }
    pid1::run()
}

/// Is the program that the words say; the first is its name, the second where the upper directory is.
#[cfg(not(test))]
#[cold]
fn beside(words: &[Vec<u8>]) -> libc::c_int {
    let upper = words.get(1).and_then(|path| {
        let path = sys::string(path).ok()?;
        file::open(&path, libc::O_RDONLY | libc::O_DIRECTORY, 0).ok()
    });
    let words = words.get(1..).unwrap_or_default();
    match program::halting(words) {
        Some((halt, words)) => halt::around(halt, || program::run(&words, upper)).into(),
        None => program::run(words, upper).into(),
    }
}

/// A program's words, as libc has them.
#[cfg(not(test))]
#[cold]
fn read_words(count: libc::c_int, words: *const *const libc::c_char) -> Vec<Vec<u8>> {
    let read = |number| {
        // SAFETY: libc counts its words.
        let place = unsafe { words.add(number) };
        // SAFETY: and it is one of them.
        let word = unsafe { *place };
        // SAFETY: libc's words end with a zero, and live as long as the process.
        unsafe { CStr::from_ptr(word) }.to_bytes().to_vec()
    };
    (0..usize::try_from(count).unwrap_or(0)).map(read).collect()
}
