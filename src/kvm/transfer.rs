//! Bytes between a file and guest memory, without a copy in between.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Most stretches of memory in one call (IOV_MAX of Linux).
const MOST: usize = 1024;

/// The call: `preadv` or `pwritev`.
type Call =
    unsafe extern "C" fn(libc::c_int, *const libc::iovec, libc::c_int, libc::off_t) -> isize;

/// Reads the file from byte `offset` on into `stretches` of guest memory, address and length each; how
/// many bytes there were.
pub fn read_at(
    mem: &GuestMemoryMmap,
    file: BorrowedFd<'_>,
    offset: u64,
    stretches: &[(GuestAddress, usize)],
) -> io::Result<usize> {
    transfer(libc::preadv, mem, file, offset, stretches)
}

/// Writes `stretches` of guest memory to the file, from byte `offset` on or, where it was opened so, at
/// its end; how many bytes it took.
pub fn write_at(
    mem: &GuestMemoryMmap,
    file: BorrowedFd<'_>,
    offset: u64,
    stretches: &[(GuestAddress, usize)],
) -> io::Result<usize> {
    transfer(libc::pwritev, mem, file, offset, stretches)
}

/// Reads once from where there is no offset and each read takes a whole message, into `stretches`; how many bytes the
/// message had of what fits.
pub fn read_once(
    mem: &GuestMemoryMmap,
    from: BorrowedFd<'_>,
    stretches: &[(GuestAddress, usize)],
) -> io::Result<usize> {
    once(libc::readv, mem, from, stretches)
}

/// Writes `stretches` once, as one message.
pub fn write_once(
    mem: &GuestMemoryMmap,
    to: BorrowedFd<'_>,
    stretches: &[(GuestAddress, usize)],
) -> io::Result<usize> {
    once(libc::writev, mem, to, stretches)
}

/// The call: `readv` or `writev`.
type Once = unsafe extern "C" fn(libc::c_int, *const libc::iovec, libc::c_int) -> isize;

fn once(
    call: Once,
    mem: &GuestMemoryMmap,
    file: BorrowedFd<'_>,
    stretches: &[(GuestAddress, usize)],
) -> io::Result<usize> {
    let (vector, _) = vector(mem, stretches)?;
    // More than the kernel takes is its error.
    let count = libc::c_int::try_from(vector.len()).map_err(io::Error::other)?;
    // SAFETY: each entry of the vector is a stretch of guest memory, which stays mapped as long as `mem`
    // lives; whatever the guest does with it meanwhile, nobody holds a reference into it.
    let moved = unsafe { call(file.as_raw_fd(), vector.as_ptr(), count) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

fn transfer(
    call: Call,
    mem: &GuestMemoryMmap,
    file: BorrowedFd<'_>,
    offset: u64,
    stretches: &[(GuestAddress, usize)],
) -> io::Result<usize> {
    let mut done = 0;
    for part in stretches.chunks(MOST) {
        let (vector, asked) = vector(mem, part)?;
        let at = offset.checked_add(done as u64);
        let at = at.and_then(|at| libc::off_t::try_from(at).ok());
        let at = at.ok_or(io::ErrorKind::InvalidInput)?;
        let count = libc::c_int::try_from(vector.len()).map_err(io::Error::other)?;
        // SAFETY: each entry of the vector is a stretch of guest memory, which stays mapped as long as
        // `mem` lives; whatever the guest does with it meanwhile, nobody holds a reference into it.
        let moved = unsafe { call(file.as_raw_fd(), vector.as_ptr(), count, at) };
        match usize::try_from(moved) {
            Ok(moved) => done += moved,
            Err(_) if done > 0 => return Ok(done),
            Err(_) => return Err(io::Error::last_os_error()),
        }
        if usize::try_from(moved).unwrap_or(0) < asked {
            break;
        }
    }
    Ok(done)
}

/// Where the stretches are in this process, and their length together.
fn vector(
    mem: &GuestMemoryMmap,
    stretches: &[(GuestAddress, usize)],
) -> io::Result<(Vec<libc::iovec>, usize)> {
    let mut vector = Vec::with_capacity(stretches.len());
    let mut asked = 0;
    for (address, len) in stretches {
        let slice = mem
            .get_slice(*address, *len)
            .map_err(|_| io::Error::from_raw_os_error(libc::EFAULT))?;
        vector.push(libc::iovec {
            iov_base: slice.ptr_guard_mut().as_ptr().cast(),
            iov_len: *len,
        });
        asked += len;
    }
    Ok((vector, asked))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use vm_memory::Bytes;

    use super::*;

    #[test]
    fn bytes_go_both_ways_and_stay_inside_of_memory() {
        let mem = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
        let file = tempfile::tempfile().unwrap();
        mem.write_slice(b"hello", GuestAddress(0x100)).unwrap();
        let from = [(GuestAddress(0x100), 3), (GuestAddress(0x103), 2)];
        assert_eq!(write_at(&mem, file.as_fd(), 7, &from).unwrap(), 5);
        let into = [(GuestAddress(0x200), 4), (GuestAddress(0x300), 100)];
        assert_eq!(read_at(&mem, file.as_fd(), 8, &into).unwrap(), 4);
        let mut seen = [0; 4];
        mem.read_slice(&mut seen, GuestAddress(0x200)).unwrap();
        assert_eq!(&seen, b"ello");
        let outside = [(GuestAddress(0x3fff), 2)];
        let refused = read_at(&mem, file.as_fd(), 0, &outside).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EFAULT));
        let far = [(GuestAddress(0), 1)];
        assert!(write_at(&mem, file.as_fd(), u64::MAX, &far).is_err());
        assert_eq!(read_at(&mem, file.as_fd(), 1 << 40, &far).unwrap(), 0);
    }
}
