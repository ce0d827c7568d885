//! Bytes between a file and guest memory, without a copy in between.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::memory::Mem;

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

/// Stretches of guest memory one behind another, for whole messages: where they are in this process is found out once,
/// however often they are tried.
pub struct Scatter {
    // Stays mapped as long as there are addresses of it.
    _mem: Mem,
    regions: Vec<Region>,
    vector: Vec<libc::iovec>,
    /// Those before are used up.
    first: usize,
}

/// A stretch of guest memory, and where it is in this process.
struct Region {
    start: u64,
    len: u64,
    place: *mut u8,
}

// SAFETY: the addresses in it are of guest memory, which is mapped for all threads as long as `_mem` lives.
unsafe impl Send for Scatter {}

impl Scatter {
    /// None yet, of `mem`.
    pub fn new(mem: Mem) -> Self {
        let regions = mem.iter().map(|region| Region {
            start: region.start_addr().raw_value(),
            len: region.len(),
            place: region.as_ptr(),
        });
        Self {
            regions: regions.collect(),
            _mem: mem,
            vector: Vec::new(),
            first: 0,
        }
    }

    /// One more, behind the others; EFAULT where it is not in guest memory.
    pub fn push(&mut self, address: GuestAddress, len: usize) -> io::Result<()> {
        let found = self
            .regions
            .iter()
            .find_map(|region| region.find(address, len));
        let outside = || io::Error::from_raw_os_error(libc::EFAULT);
        self.vector.push(found.ok_or_else(outside)?);
        Ok(())
    }

    /// Takes the first `count` away.
    pub fn take_away(&mut self, count: usize) {
        self.first = self.vector.len().min(self.first + count);
        // Those behind move as seldom as there are as many before them.
        if self.first * 2 >= self.vector.len() {
            self.vector.drain(..self.first);
            self.first = 0;
        }
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.vector.clear();
        self.first = 0;
    }

    /// Reads one message into them; how many bytes it had of what fits.
    pub fn read_once(&self, from: BorrowedFd<'_>) -> io::Result<usize> {
        self.once(libc::readv, from)
    }

    /// Reads one message into the first `count` of them, and what does not fit there into `spill`, if there are more of them: a
    /// short one costs the less the fewer the kernel has to look at. How many bytes it had of what fits.
    pub fn read_spilling(
        &mut self,
        from: BorrowedFd<'_>,
        count: usize,
        spill: &mut [u8],
    ) -> io::Result<usize> {
        let own = libc::iovec {
            iov_base: spill.as_mut_ptr().cast(),
            iov_len: spill.len(),
        };
        let end = self.first + count;
        let Some(next) = self.vector.get_mut(end) else {
            return self.read_once(from);
        };
        let guests = std::mem::replace(next, own);
        let read = call(libc::readv, &self.vector[self.first..=end], from);
        self.vector[end] = guests;
        read
    }

    /// Writes all of them as one message.
    pub fn write_once(&self, to: BorrowedFd<'_>) -> io::Result<usize> {
        self.once(libc::writev, to)
    }

    fn once(&self, what: Once, file: BorrowedFd<'_>) -> io::Result<usize> {
        call(what, &self.vector[self.first..], file)
    }
}

/// Of entries as [`Scatter`] has them: guest memory, or what its caller has borrowed to be written.
fn call(what: Once, entries: &[libc::iovec], file: BorrowedFd<'_>) -> io::Result<usize> {
    // More than the kernel takes is its error.
    let count = libc::c_int::try_from(entries.len()).map_err(io::Error::other)?;
    // SAFETY: each entry is a stretch of guest memory, which stays mapped as long as the scatter it is of, and whatever the
    // guest does with it meanwhile, nobody holds a reference into it; or bytes that its caller alone has for this long.
    let moved = unsafe { what(file.as_raw_fd(), entries.as_ptr(), count) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

impl Region {
    /// Where a stretch is in this process, if it is all in here.
    fn find(&self, address: GuestAddress, len: usize) -> Option<libc::iovec> {
        let offset = address.raw_value().checked_sub(self.start)?;
        let end = offset.checked_add(u64::try_from(len).ok()?)?;
        let is_inside = end <= self.len;
        let offset = usize::try_from(offset).ok()?;
        is_inside.then(|| libc::iovec {
            iov_base: self.place.wrapping_add(offset).cast(),
            iov_len: len,
        })
    }
}

impl fmt::Debug for Scatter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.vector.len() - self.first;
        f.debug_struct("Scatter")
            .field("count", &count)
            .finish_non_exhaustive()
    }
}

/// The call: `readv` or `writev`.
type Once = unsafe extern "C" fn(libc::c_int, *const libc::iovec, libc::c_int) -> isize;

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
        vector.push(entry(mem, *address, *len)?);
        asked += len;
    }
    Ok((vector, asked))
}

/// Where a stretch is in this process.
fn entry(mem: &GuestMemoryMmap, address: GuestAddress, len: usize) -> io::Result<libc::iovec> {
    let slice = mem
        .get_slice(address, len)
        .map_err(|_| io::Error::from_raw_os_error(libc::EFAULT))?;
    Ok(libc::iovec {
        iov_base: slice.ptr_guard_mut().as_ptr().cast(),
        iov_len: len,
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

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

    #[test]
    fn messages_go_into_what_is_not_used_up() {
        let mem = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
        let mem = Mem::new(mem);
        let (near, far) = UnixDatagram::pair().unwrap();
        let mut scatter = Scatter::new(Mem::clone(&mem));
        for place in 0..5 {
            scatter.push(GuestAddress(place * 0x100), 3).unwrap();
        }
        let seen = |place| {
            let mut seen = [0; 3];
            mem.read_slice(&mut seen, GuestAddress(place)).unwrap();
            seen
        };
        far.send(b"abcd").unwrap();
        assert_eq!(scatter.read_once(near.as_fd()).unwrap(), 4);
        assert_eq!((seen(0), seen(0x100)), (*b"abc", *b"d\0\0"));
        scatter.take_away(2);
        far.send(b"efgh").unwrap();
        assert_eq!(scatter.read_once(near.as_fd()).unwrap(), 4);
        assert_eq!((seen(0x200), seen(0x300)), (*b"efg", *b"h\0\0"));
        scatter.take_away(2);
        scatter.push(GuestAddress(0x200), 2).unwrap();
        assert_eq!(scatter.write_once(near.as_fd()).unwrap(), 5);
        // What does not fit where it may go is aside, and where it may not nothing is.
        let mut spill = [0; 8];
        scatter.push(GuestAddress(0x500), 2).unwrap();
        far.send(b"ijklm").unwrap();
        let read = scatter.read_spilling(near.as_fd(), 1, &mut spill);
        assert_eq!((read.unwrap(), seen(0x400)), (5, *b"ijk"));
        assert_eq!((&spill[..2], seen(0x500)), (&b"lm"[..], [0; 3]));
        far.send(b"nopqrst").unwrap();
        let read = scatter.read_spilling(near.as_fd(), 3, &mut spill);
        assert_eq!((read.unwrap(), seen(0x500)), (7, *b"st\0"));
        scatter.clear();
        let mut sent = [0; 9];
        assert_eq!(far.recv(&mut sent).unwrap(), 5);
        assert_eq!(&sent[..5], b"\0\0\0ef");
        let refused = scatter.push(GuestAddress(0x3fff), 2).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EFAULT));
        scatter.clear();
        assert_eq!(scatter.write_once(near.as_fd()).unwrap(), 0);
    }
}
