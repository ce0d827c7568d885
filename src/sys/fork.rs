//! A copy of this process that does one thing and ends.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::{Pid, WaitOptions, waitpid};

/// A child that [`fork`] made.
#[derive(Debug)]
pub struct Forked(Pid);

impl Forked {
    /// Waits for its end, and says whether it was well.
    pub fn wait(self) -> io::Result<bool> {
        loop {
            match waitpid(Some(self.0), WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                answer => {
                    let status = answer?.map(|(_, status)| status);
                    return Ok(status.is_some_and(|status| status.exit_status() == Some(0)));
                }
            }
        }
    }
}

/// Runs `work` in a copy of this process, which ends well if it says so. Fails in a process of several
/// threads: the copy would have one of them, and whatever locks the others held.
pub fn fork(work: impl FnOnce() -> bool) -> io::Result<Forked> {
    require_one_thread()?;
    // SAFETY: this is the only thread, as was seen above, so no lock is held by a thread that the copy
    // lacks.
    let pid = unsafe { libc::fork() };
    match Pid::from_raw(pid) {
        Some(child) if pid > 0 => Ok(Forked(child)),
        None if pid == 0 => {
            let well = catch_unwind(AssertUnwindSafe(work)).unwrap_or(false);
            // SAFETY: ends this process only, without running what the parent registered for its exit.
            unsafe { libc::_exit(c_int::from(!well)) }
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Fails in a process of several threads: what is this process's own is shared by them.
pub(super) fn require_one_thread() -> io::Result<()> {
    match fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        count => Err(io::Error::other(format!(
            "this process has {count} threads, and needs to be alone"
        ))),
    }
}

/// Closes every descriptor but those in `kept`; the standard streams become /dev/null. For a copy that
/// must not hold its parent's files open.
pub fn keep_only(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let null = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let mut kept: Vec<RawFd> = kept.iter().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    let mut next = 3;
    for fd in kept {
        close_range(next, fd - 1)?;
        next = fd + 1;
    }
    // `null` was among what is closed now, or is closed here.
    std::mem::forget(null);
    close_range(next, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: no memory is passed. Whoever calls says that nothing uses these descriptors any more.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
