//! Paths that are longer than the kernel takes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The kernel takes 4096 bytes (PATH_MAX); a name in front of them and one after them have 255 at most.
const MOST: usize = 3500;

/// A path that leads to the same file, short enough for every call.
#[derive(Debug)]
pub struct Reach {
    path: PathBuf,
    /// The directory that the path begins in, when it is not the root.
    _held: Option<File>,
}

impl Reach {
    /// The way to `path`, which has no link on it.
    pub fn to(path: &[u8]) -> io::Result<Self> {
        let mut rest = path;
        let mut held = None;
        while rest.len() > MOST {
            let cut = rest[..MOST].iter().rposition(|byte| *byte == b'/');
            let cut = cut
                .filter(|cut| *cut > 0)
                .ok_or(io::ErrorKind::InvalidFilename)?;
            let folder = File::options()
                .read(true)
                .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
                .open(below(held.as_ref(), &rest[..cut]))?;
            held = Some(folder);
            rest = &rest[cut + 1..];
        }
        Ok(Self {
            path: below(held.as_ref(), rest),
            _held: held,
        })
    }

    /// The path; good as long as this value lives.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn below(folder: Option<&File>, path: &[u8]) -> PathBuf {
    let path = Path::new(OsStr::from_bytes(path));
    match folder {
        Some(folder) => Path::new("/proc/self/fd")
            .join(folder.as_raw_fd().to_string())
            .join(path),
        None => path.to_owned(),
    }
}
