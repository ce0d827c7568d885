//! Threads: which processor they run on, and how they wait for one another.

use std::io;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::AtomicU32;

use super::check;

/// Keeps this thread, and the threads and children that it makes, on the processor it is on; until
/// dropped.
#[derive(Debug)]
pub struct Pinned {
    before: libc::cpu_set_t,
}

impl Pinned {
    /// Pins the calling thread.
    pub fn here() -> io::Result<Self> {
        let before = allowed()?;
        // SAFETY: takes nothing.
        let cpu = check(unsafe { libc::sched_getcpu() })?;
        let cpu = usize::try_from(cpu).map_err(io::Error::other)?;
        let mut one = no_cpus();
        // SAFETY: a number beyond the set's room changes nothing.
        unsafe { libc::CPU_SET(cpu, &mut one) };
        allow(&one)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The set was this thread's own; a processor that has gone since is the kernel's to replace.
        let _refused = allow(&self.before);
    }
}

fn no_cpus() -> libc::cpu_set_t {
    // SAFETY: the set is an array of integers, for which zero is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn allowed() -> io::Result<libc::cpu_set_t> {
    let mut set = no_cpus();
    // SAFETY: `set` is as long as said, and outlives the call; 0 is the calling thread.
    check(unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set) })?;
    Ok(set)
}

fn allow(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: `set` is as long as said, and outlives the call; 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, mem::size_of_val(set), set) }).map(drop)
}

/// Sleeps while `word` is `value`; may return earlier.
pub fn sleep_while(word: &AtomicU32, value: u32) {
    let (op, forever) = (
        libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
        ptr::null::<libc::timespec>(),
    );
    // SAFETY: `word` is an aligned 32-bit integer that outlives the call; no timeout is a null one.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, value, forever) };
}

/// Wakes one thread that sleeps on `word`.
pub fn wake_one(word: &AtomicU32) {
    let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the address only names the waiters; no memory is read or written.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, 1) };
}
