//! Where copied files go, by docker's rules: what is there decides, and a slash at the end.
//!
//! ```text
//!                        SRC is a file              SRC is a directory    SRC ends with /.
//!  DEST is a directory   DEST/SRC's name            DEST/SRC's name       into DEST
//!  DEST is a file        in its place               refused               refused
//!  DEST is not there     DEST; with / refused       DEST                  DEST
//! ```
//! The directory that DEST is in has to be there.

use std::os::fd::OwnedFd;

use super::error::Tried;
use super::{Error, Kind};
use crate::sys::tree::{self, HERE, Links};
use crate::sys::{self, Errno};

/// What is copied: the first entry of its archive.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its name; `.` for the content of a directory.
    pub name: &'a [u8],
    /// What it is.
    pub kind: Kind,
}

/// A directory, and the name there that the source gets; `None` is for the content of a directory.
#[derive(Debug)]
pub struct Place {
    /// The directory, as a place to look names up in.
    pub folder: OwnedFd,
    /// The name.
    pub name: Option<Vec<u8>>,
}

/// Links at the end of a path that are followed, as the kernel has it (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// The place that `source` gets at `dest`, a path of this process's own world.
pub fn place(dest: &[u8], source: Source<'_>) -> Result<Place, Error> {
    let dest = follow(dest)?;
    let path = sys::string(&dest).tried("find", &dest)?;
    let directory = source.kind == Kind::Directory;
    match tree::stat(HERE, &path, Links::Followed) {
        Ok(stat) if u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFDIR => Ok(Place {
            folder: open(&dest)?,
            name: (source.name != b".").then(|| source.name.to_vec()),
        }),
        Ok(_) if directory => Err(Error::refused(
            &dest,
            "a directory cannot take the place of a file",
        )),
        Ok(_) => below(&dest),
        Err(Errno(libc::ENOENT)) if directory || !dest.ends_with(b"/") => below(&dest),
        Err(Errno(libc::ENOENT)) => Err(Error::refused(
            &dest,
            "there is no such directory: make it first, or leave the slash at the end away",
        )),
        Err(errno) => Err(errno).tried("find", &dest),
    }
}

/// The directory at `dest`, for an archive of many things.
pub fn directory(dest: &[u8]) -> Result<Place, Error> {
    Ok(Place {
        folder: open(dest)?,
        name: None,
    })
}

/// A name in the directory of `dest`.
fn below(dest: &[u8]) -> Result<Place, Error> {
    let mut end = dest.len();
    while end > 1 && dest[end - 1] == b'/' {
        end -= 1;
    }
    let (above, name) = match dest[..end].iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&dest[..=slash], &dest[slash + 1..end]),
        None => (&b"."[..], &dest[..end]),
    };
    if matches!(name, b"" | b"." | b"..") {
        return Err(Error::refused(dest, "there is no such directory"));
    }
    Ok(Place {
        folder: open(above)?,
        name: Some(name.to_vec()),
    })
}

fn open(path: &[u8]) -> Result<OwnedFd, Error> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let opened = sys::string(path).and_then(|name| tree::open(HERE, &name, flags, 0));
    opened.tried("copy to the directory", path)
}

/// The path that a path with a link at its end leads to.
fn follow(dest: &[u8]) -> Result<Vec<u8>, Error> {
    let mut path = dest.to_vec();
    for _ in 0..MOST_LINKS {
        let name = sys::string(&path).tried("find", &path)?;
        let is_link = tree::stat(HERE, &name, Links::Kept)
            .is_ok_and(|stat| u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFLNK);
        if !is_link {
            return Ok(path);
        }
        let target = tree::read_link(HERE, &name).tried("read", &path)?;
        let slash = path.iter().rposition(|byte| *byte == b'/');
        path.truncate(match target.starts_with(b"/") {
            true => 0,
            false => slash.map_or(0, |slash| slash + 1),
        });
        path.extend_from_slice(&target);
    }
    Err(Errno(libc::ELOOP)).tried("find", dest)
}
