//! What this process may do and use.

use std::fs;
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

/// Whether this process has the capability of this number (linux/capability.h) in its user namespace.
pub fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> number & 1 == 1)
}
