//! What this process may use.

use std::mem::MaybeUninit;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

/// Most files that anybody needs open: a million takes the kernel some 300 MiB.
const ENOUGH_FILES: u64 = 1 << 20;

/// How many files this process may let itself have open, as far as anybody needs them.
pub fn most_open_files() -> usize {
    to_usize(enough_of(getrlimit(Resource::Nofile)))
}

fn enough_of(limit: Rlimit) -> u64 {
    limit.maximum.unwrap_or(ENOUGH_FILES).min(ENOUGH_FILES)
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Lets this process have as many files open as it may let itself; how many that is.
pub fn raise_open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = enough_of(limit);
    let raised = Rlimit {
        current: Some(most),
        maximum: limit.maximum,
    };
    let granted = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(_) => limit.current.unwrap_or(ENOUGH_FILES),
    };
    to_usize(granted)
}
