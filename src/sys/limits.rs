//! What this process may use.

use std::mem::MaybeUninit;

/// The most that this process may set its limit `resource` (RLIMIT_*) to; `u64::MAX` is no limit.
pub fn hard_limit(resource: u32) -> u64 {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the kernel fills the whole structure, or says that it did not.
    if unsafe { libc::getrlimit(resource, limit.as_mut_ptr()) } != 0 {
        return 0;
    }
    // SAFETY: the call above succeeded, so the structure is filled.
    unsafe { limit.assume_init() }.rlim_max
}
