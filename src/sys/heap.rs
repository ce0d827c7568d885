//! The heap of the C library.

/// Has all threads allocate from one heap. Each would get one of its own else, of 64 MiB of addresses: nothing
/// that a thread which mostly waits is worth, at every start of one.
pub fn share() {
    // SAFETY: the call takes two numbers, and is made before there is another thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
