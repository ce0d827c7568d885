//! Files whose last close keeps nobody waiting.
//!
//! The last close of a virtual machine waits for several grace periods of RCU: some 40 ms in which
//! nothing is computed, and in which whoever waits for the process waits too. A file that is registered with
//! an io_uring is let go of by a worker of the kernel's, after the ring; its process is long gone then.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io_uring::{IoringRegisterOp, io_uring_params, io_uring_register, io_uring_setup};

/// Keeps a file open until a moment after it is dropped.
#[derive(Debug)]
pub struct Linger {
    _ring: OwnedFd,
}

impl Linger {
    /// Keeps `file` open. Fails where io_uring is forbidden; the close is then the process's own.
    pub fn over(file: BorrowedFd<'_>) -> io::Result<Self> {
        let mut params = io_uring_params::default();
        // SAFETY: the parameters are ours, and ask for nothing that refers to memory.
        let ring = unsafe { io_uring_setup(1, &mut params) }?;
        let files = [file.as_raw_fd()];
        // SAFETY: the kernel reads one descriptor from `files`, which outlives the call.
        let registered = unsafe {
            io_uring_register(
                ring.as_fd(),
                IoringRegisterOp::RegisterFiles,
                files.as_ptr().cast(),
                1,
            )
        };
        registered?;
        Ok(Self { _ring: ring })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_file_is_open_as_long_as_somebody_lingers_and_closed_after() {
        let (mut reader, writer) = pipe().unwrap();
        let Ok(linger) = Linger::over(writer.as_fd()) else {
            eprintln!("not run: this host has no io_uring for us");
            return;
        };
        drop(writer);
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let still_open = reader.read(&mut [0]).unwrap_err();
        assert_eq!(still_open.kind(), io::ErrorKind::WouldBlock);
        rustix::io::ioctl_fionbio(&reader, false).unwrap();
        drop(linger);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
