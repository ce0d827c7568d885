//! How many processes and threads the workload may be. In a guest that is the kernel's own bound: there is nobody else
//! to be counted apart from, and no control group to be made.

use std::ffi::CStr;

use husk_init::exit::{Failure, Stage};
use husk_init::failure::At;
use husk_init::processes;
use husk_init::sys::{Errno, Result, file};

/// Tasks that there are: the second number of the fourth word (proc_loadavg(5)).
const LOAD: &CStr = c"/proc/loadavg";

/// Tasks that there may be (proc_sys_kernel(5)).
const MOST: &CStr = c"/proc/sys/kernel/threads-max";

/// As many as the kernel has numbers for (FUTEX_TID_MASK).
const ALL: u32 = 0x3fff_ffff;

/// Bounds the workload to `most`, besides those that are there: the kernel's own, and init.
pub fn bound(most: u32) -> std::result::Result<(), Failure> {
    set(most).at(Stage::Limit, b"pids")
}

/// Bounds it anew while it runs: what it is already is not counted twice. `None` is no bound but the kernel's own.
#[cold]
pub fn bound_again(most: Option<u32>) -> std::result::Result<(), Failure> {
    let set = match most {
        None => write(ALL),
        Some(most) => count_all().and_then(|now| {
            let own = now.saturating_sub(processes::threads());
            write(own.saturating_add(most))
        }),
    };
    set.at(Stage::Limit, b"pids")
}

fn set(most: u32) -> Result<()> {
    write(count_all()?.saturating_add(most))
}

fn count_all() -> Result<u32> {
    let mut load = [0; 64];
    let len = file::read(&file::open(LOAD, libc::O_RDONLY, 0)?, &mut load)?;
    count(&load[..len]).ok_or(Errno(libc::EINVAL))
}

fn write(all: u32) -> Result<()> {
    let all = all.to_string();
    file::write(&file::open(MOST, libc::O_WRONLY, 0)?, all.as_bytes()).map(drop)
}

fn count(load: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(load).ok()?;
    let (_, all) = text.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_counted_as_the_kernel_tells_them() {
        assert_eq!(count(b"0.20 0.18 0.12 1/80 11206\n"), Some(80));
        assert_eq!(count(b"0.20 0.18 0.12 80 11206\n"), None);
        assert_eq!(count(b""), None);
    }
}
