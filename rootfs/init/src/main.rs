//! PID 1 of a husk guest. Read [`pid1`] first: it is the whole story on one page.

#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "tests run the parts, not the story"))]

#[cfg(test)]
mod alone;
mod control;
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
mod terminal;
mod vsock;

/// Called by libc itself. Rust's own start would look at the standard streams, install signal
/// handlers and map a signal stack: a dozen system calls that a machine with one process can save.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main() -> libc::c_int {
    pid1::run()
}
