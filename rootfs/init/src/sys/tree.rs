//! Files by directory and name, so that a walk follows nothing that it has not looked at.

use std::ffi::{CStr, CString, c_int};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Result, check, count};

/// The working directory, as a directory to look names up in; an absolute name needs no other.
pub const HERE: BorrowedFd<'static> = {
    // SAFETY: the number stands for no descriptor, and is nobody's to close.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
};

/// What there is at a name.
pub type Stat = libc::statx;

/// Whether the last link of a name is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// The link itself.
    Kept,
    /// What it leads to.
    Followed,
}

/// Opens `name` in `folder`; close-on-exec always.
pub fn open(
    folder: BorrowedFd<'_>,
    name: &CStr,
    flags: c_int,
    mode: libc::mode_t,
) -> Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: the name is a NUL-terminated string that outlives the call.
    let fd = check(unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags, mode) })?;
    // SAFETY: the kernel just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens the directory `path` below `folder` as a place, with no link on the way and none out (openat2(2),
/// Linux 5.6).
pub fn open_beneath(folder: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    // SAFETY: the structure is integers only, for which all zeros is a value.
    let mut how: libc::open_how = unsafe { mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
    let size = mem::size_of_val(&how);
    let (fd, name) = (folder.as_raw_fd(), path.as_ptr());
    // SAFETY: the path is NUL-terminated, and the structure is filled and as long as it says.
    let fd = check(unsafe { libc::syscall(libc::SYS_openat2, fd, name, &raw const how, size) })?;
    let fd = c_int::try_from(fd).map_err(|_| super::Errno(libc::EBADF))?;
    // SAFETY: the kernel just made this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What there is at `name` in `folder`; of an empty name, `folder` itself (statx(2)).
pub fn stat(folder: BorrowedFd<'_>, name: &CStr, links: Links) -> Result<Stat> {
    let mut stat = MaybeUninit::<Stat>::uninit();
    let flags = libc::AT_EMPTY_PATH
        | match links {
            Links::Kept => libc::AT_SYMLINK_NOFOLLOW,
            Links::Followed => 0,
        };
    let (fd, mask) = (folder.as_raw_fd(), libc::STATX_BASIC_STATS);
    // SAFETY: the name is NUL-terminated and the kernel fills the whole structure.
    check(unsafe { libc::statx(fd, name.as_ptr(), flags, mask, stat.as_mut_ptr()) })?;
    // SAFETY: the call above succeeded, so the structure is filled.
    Ok(unsafe { stat.assume_init() })
}

/// Bytes of directory entries asked for at once.
const ENTRIES: usize = 32 << 10;

/// Where a record of getdents64(2) has its length and its name.
const RECORD_LENGTH: usize = 16;
const RECORD_NAME: usize = 19;

/// The names in an open directory but `.` and `..`, sorted.
pub fn names(folder: &OwnedFd) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    let mut buffer = vec![0u8; ENTRIES];
    loop {
        let (fd, room) = (folder.as_raw_fd(), buffer.as_mut_ptr());
        // SAFETY: the buffer is writable for its whole length.
        let read = check(unsafe { libc::syscall(libc::SYS_getdents64, fd, room, ENTRIES) })?;
        let mut rest = &buffer[..usize::try_from(read).unwrap_or(0)];
        if rest.is_empty() {
            names.sort_unstable();
            return Ok(names);
        }
        while let [low, high, ..] = rest[rest.len().min(RECORD_LENGTH)..] {
            let length = usize::from(u16::from_ne_bytes([low, high])).clamp(1, rest.len());
            let name = rest[..length].get(RECORD_NAME..).unwrap_or_default();
            if let Ok(name) = CStr::from_bytes_until_nul(name)
                && !matches!(name.to_bytes(), b"" | b"." | b"..")
            {
                names.push(name.to_owned());
            }
            rest = &rest[length..];
        }
    }
}

/// Where the symbolic link `name` in `folder` leads.
pub fn read_link(folder: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>> {
    let mut target = vec![0; 4096];
    let (fd, room) = (folder.as_raw_fd(), target.as_mut_ptr());
    // SAFETY: the name is NUL-terminated, and the buffer is writable for its whole length.
    let length = count(unsafe { libc::readlinkat(fd, name.as_ptr(), room.cast(), target.len()) })?;
    target.truncate(length);
    Ok(target)
}

/// Makes a directory.
pub fn mkdir(folder: BorrowedFd<'_>, name: &CStr, mode: libc::mode_t) -> Result<()> {
    // SAFETY: the name is a NUL-terminated string that outlives the call.
    check(unsafe { libc::mkdirat(folder.as_raw_fd(), name.as_ptr(), mode) }).map(drop)
}

/// Makes a device, a pipe or an empty file, by the kind in `mode`.
pub fn mknod(
    folder: BorrowedFd<'_>,
    name: &CStr,
    mode: libc::mode_t,
    (major, minor): (u32, u32),
) -> Result<()> {
    let device = libc::makedev(major, minor);
    // SAFETY: the name is a NUL-terminated string that outlives the call.
    check(unsafe { libc::mknodat(folder.as_raw_fd(), name.as_ptr(), mode, device) }).map(drop)
}

/// Makes a symbolic link to `target`.
pub fn symlink(target: &CStr, folder: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let fd = folder.as_raw_fd();
    // SAFETY: both are NUL-terminated strings that outlive the call.
    check(unsafe { libc::symlinkat(target.as_ptr(), fd, name.as_ptr()) }).map(drop)
}

/// Gives a file one more name; a link is not followed.
pub fn link(from: (BorrowedFd<'_>, &CStr), to: (BorrowedFd<'_>, &CStr)) -> Result<()> {
    let (there, old) = (from.0.as_raw_fd(), from.1.as_ptr());
    let (here, new) = (to.0.as_raw_fd(), to.1.as_ptr());
    // SAFETY: both names are NUL-terminated strings that outlive the call.
    check(unsafe { libc::linkat(there, old, here, new, 0) }).map(drop)
}

/// Takes a name away that is no directory's.
pub fn unlink(folder: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: the name is a NUL-terminated string that outlives the call.
    check(unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), 0) }).map(drop)
}

/// Changes the owner of what is there; a link's own, and of an empty name `folder`'s.
pub fn chown(folder: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> Result<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: the name is a NUL-terminated string that outlives the call.
    check(unsafe { libc::fchownat(folder.as_raw_fd(), name.as_ptr(), uid, gid, flags) }).map(drop)
}

/// Changes the permissions of an open file.
pub fn chmod(file: &OwnedFd, mode: libc::mode_t) -> Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::fchmod(file.as_raw_fd(), mode) }).map(drop)
}

/// Changes the permissions of what is no link: between a look and this it may become one, so it is for
/// what nobody else can replace.
pub fn chmod_at(folder: BorrowedFd<'_>, name: &CStr, mode: libc::mode_t) -> Result<()> {
    // SAFETY: the name is a NUL-terminated string that outlives the call.
    check(unsafe { libc::fchmodat(folder.as_raw_fd(), name.as_ptr(), mode, 0) }).map(drop)
}

/// Changes the time of the last change, and of the last access with it; a link's own.
pub fn set_time(folder: BorrowedFd<'_>, name: &CStr, seconds: i64) -> Result<()> {
    let time = libc::timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = [time, time];
    let (fd, flags) = (folder.as_raw_fd(), libc::AT_SYMLINK_NOFOLLOW);
    // SAFETY: the name is NUL-terminated, and there are two times.
    check(unsafe { libc::utimensat(fd, name.as_ptr(), times.as_ptr(), flags) }).map(drop)
}

/// Changes the times of an open file.
pub fn set_time_of(file: &OwnedFd, seconds: i64) -> Result<()> {
    let time = libc::timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = [time, time];
    // SAFETY: there are two times.
    check(unsafe { libc::futimens(file.as_raw_fd(), times.as_ptr()) }).map(drop)
}

/// Gives an open file this many bytes; those that it did not have are zeros.
pub fn set_size(file: &OwnedFd, size: u64) -> Result<()> {
    let size = libc::off_t::try_from(size).map_err(|_| super::Errno(libc::EFBIG))?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::ftruncate(file.as_raw_fd(), size) }).map(drop)
}

/// Writes at a place of the file.
pub fn write_at(file: &OwnedFd, bytes: &[u8], at: u64) -> Result<usize> {
    let at = libc::off_t::try_from(at).map_err(|_| super::Errno(libc::EFBIG))?;
    let (fd, from) = (file.as_raw_fd(), bytes.as_ptr());
    // SAFETY: the bytes are readable for their whole length.
    count(unsafe { libc::pwrite(fd, from.cast(), bytes.len(), at) })
}

/// Room for the usual list of attributes, and for the longest that Linux has (xattr(7)).
const ROOMS: [usize; 2] = [512, 64 << 10];

/// What `read` writes to a buffer that is long enough for it.
fn grown(read: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let [usual, most] = ROOMS;
    let mut buffer = vec![0; usual];
    let length = match read(&mut buffer) {
        Err(super::Errno(libc::ERANGE)) => {
            buffer = vec![0; most];
            read(&mut buffer)?
        }
        length => length?,
    };
    buffer.truncate(length);
    Ok(buffer)
}

/// Names of an open file's attributes, sorted.
pub fn attributes(file: &OwnedFd) -> Result<Vec<CString>> {
    let list = grown(|room| {
        let (fd, start) = (file.as_raw_fd(), room.as_mut_ptr());
        // SAFETY: the buffer is writable for its whole length.
        count(unsafe { libc::flistxattr(fd, start.cast(), room.len()) })
    })?;
    let names = list.split(|byte| *byte == 0);
    let mut names: Vec<_> = names
        .filter(|name| !name.is_empty())
        .filter_map(|name| CString::new(name).ok())
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// The value of an open file's attribute.
pub fn attribute(file: &OwnedFd, name: &CStr) -> Result<Vec<u8>> {
    grown(|room| {
        let (fd, start) = (file.as_raw_fd(), room.as_mut_ptr());
        // SAFETY: the name is NUL-terminated, and the buffer is writable for its whole length.
        count(unsafe { libc::fgetxattr(fd, name.as_ptr(), start.cast(), room.len()) })
    })
}

/// Gives an open file an attribute.
pub fn set_attribute(file: &OwnedFd, name: &CStr, value: &[u8]) -> Result<()> {
    let (fd, from) = (file.as_raw_fd(), value.as_ptr());
    // SAFETY: the name is NUL-terminated, and the value is readable for its whole length.
    check(unsafe { libc::fsetxattr(fd, name.as_ptr(), from.cast(), value.len(), 0) }).map(drop)
}
