//! The words to the kernel, as safe functions over unsafe bodies. Nothing here decides anything.

pub mod disk;
pub mod file;
pub mod mount;
pub mod netlink;
pub mod process;
pub mod socket;
pub mod spawn;
pub mod terminal;
pub mod tree;
pub mod wait;

use std::ffi::{CString, c_long};
use std::io;

/// What the kernel said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

/// The answer of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<Errno> for io::Error {
    fn from(Errno(number): Errno) -> Self {
        Self::from_raw_os_error(number)
    }
}

/// `bytes` for the kernel; a NUL inside is EINVAL.
pub fn string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Errno(libc::EINVAL))
}

/// A return value that is -1 on failure, with the error in errno.
fn check<T: Into<c_long> + Copy>(value: T) -> Result<T> {
    if value.into() == -1 {
        Err(last())
    } else {
        Ok(value)
    }
}

/// A byte count that is -1 on failure.
fn count(value: isize) -> Result<usize> {
    usize::try_from(value).map_err(|_| last())
}

fn last() -> Errno {
    io::Error::last_os_error().into()
}
