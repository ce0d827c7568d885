//! The kernel's log: the only voice of init while there is no channel to the host.

use std::os::fd::{AsRawFd, OwnedFd};

use husk_init::sys::{self, Errno, file};

/// An open `/dev/kmsg`.
pub struct Kmsg {
    log: Option<OwnedFd>,
}

impl Kmsg {
    /// Opens the log, and fills descriptors 0, 1 and 2 while it is at it: a kernel without a console
    /// starts init with none, and nothing that init opens later may have one of those numbers.
    pub fn open() -> Self {
        loop {
            match file::open(c"/dev/kmsg", libc::O_WRONLY, 0) {
                // Kept open for the life of the machine.
                Ok(fd) if fd.as_raw_fd() <= libc::STDERR_FILENO => std::mem::forget(fd),
                Ok(fd) => return Self { log: Some(fd) },
                Err(_) => return Self { log: None },
            }
        }
    }

    /// One line in the kernel's log; lost if there is no log.
    pub fn say(&self, what: &str, why: Errno) {
        if let Some(log) = &self.log {
            let line = format!("<0>husk-init: {what}: errno {}\n", why.0);
            let _ = sys::file::write(log, line.as_bytes());
        }
    }
}
