//! Files with holes.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::check;

/// The first place from `offset` on where a file has data; `None` when there is only a hole up to its end.
pub fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    let offset = i64::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: no memory is passed.
    match check(unsafe { libc::lseek(file.as_raw_fd(), offset, libc::SEEK_DATA) }) {
        Ok(found) => u64::try_from(found).map(Some).map_err(io::Error::other),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}
