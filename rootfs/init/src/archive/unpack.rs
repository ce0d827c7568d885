//! From a stream to files. Nothing in the stream is trusted: a name leads nowhere but below the place that
//! whoever asked has chosen, everything is created and never opened by a name that was there, and what is
//! kept in memory does not grow with the stream.
//!
//! A directory gets its permissions and its time when the stream has left it.

use std::ffi::CStr;
use std::fmt;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use super::error::Tried;
use super::place::Place;
use super::tar::Reader;
use super::{CHUNK, Entry, Error, Kind};
use crate::sys::tree::{self, Links};
use crate::sys::{self, Errno};

/// Whose the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Whose they were, by number.
    Kept,
    /// This process's.
    Mine,
}

/// What is done with what the stream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whose the files are.
    pub owners: Owners,
    /// Whether the stream's maker is not trusted: no devices are made, no set-uid and set-gid bits set on
    /// files that are mine, and no link in the place is followed.
    pub wary: bool,
    /// Whether directories that the stream does not mention are made.
    pub parents: bool,
}

/// A directory that the stream is in.
struct Open {
    path: Vec<u8>,
    entry: Entry,
}

impl fmt::Debug for Unpacking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unpacking to {:?}", self.place)
    }
}

/// Files on their way out of a stream.
pub struct Unpacking<'a> {
    place: Place,
    /// What every name in the stream begins with, if anything.
    root: Option<Vec<u8>>,
    rules: Rules,
    /// Says what is left out, and why.
    left_out: &'a mut dyn FnMut(&[u8], &str),
    within: Vec<Open>,
    /// The directory that was used last.
    folder: Option<(Vec<u8>, OwnedFd)>,
    buffer: Vec<u8>,
}

/// Unpacks what is left of a stream into `place`. With `root`, every name has to be it or below it; it
/// becomes the place's name.
pub fn unpack<R: Read>(
    reader: &mut Reader<R>,
    first: Option<Entry>,
    mut unpacking: Unpacking<'_>,
) -> Result<(), Error> {
    if let Some(entry) = first {
        unpacking.put(entry, reader)?;
    }
    while let Some(entry) = reader.next_entry()? {
        unpacking.put(entry, reader)?;
    }
    unpacking.leave(None)
}

impl<'a> Unpacking<'a> {
    /// Into `place`, by `rules`. With `root`, every name has to be it or below it; it becomes the
    /// place's name.
    pub fn new(
        place: Place,
        root: Option<&[u8]>,
        rules: Rules,
        left_out: &'a mut dyn FnMut(&[u8], &str),
    ) -> Self {
        Self {
            place,
            root: root.map(<[u8]>::to_vec),
            rules,
            left_out,
            within: Vec::new(),
            folder: None,
            buffer: vec![0; CHUNK],
        }
    }

    /// Makes what `entry` says; `data` are its bytes.
    fn put(&mut self, mut entry: Entry, data: &mut impl Read) -> Result<(), Error> {
        let path = self.locate(&entry.name)?;
        self.leave(Some(&path))?;
        let Some((above, name)) = split(&path) else {
            return match entry.kind {
                Kind::Directory => Ok(()),
                _ => Err(Error::refused(
                    &entry.name,
                    "it would replace the directory that it goes to",
                )),
            };
        };
        let device = matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice);
        if self.rules.wary && device {
            (self.left_out)(&path, "a device, which is made for nobody here");
            return Ok(());
        }
        let name = sys::string(name).tried("create", &path)?;
        let folder = self.enter(above)?;
        let made = match entry.kind {
            Kind::Directory => make_directory(&folder, &name),
            Kind::File => self.file(&folder, &name, &entry, data),
            Kind::Link => self.link(&folder, &name, &entry),
            _ => self.node(&folder, &name, &entry),
        };
        self.folder = Some((above.to_vec(), folder));
        match made {
            Err(Failed::Kernel(errno)) => return Err(errno).tried("create", &path),
            Err(Failed::Other(error)) => return Err(error),
            Ok(()) => {}
        }
        if entry.kind == Kind::Directory {
            entry.name.clear();
            self.within.push(Open { path, entry });
        }
        Ok(())
    }

    /// Where an entry goes: below the place.
    fn locate(&self, name: &[u8]) -> Result<Vec<u8>, Error> {
        let refuse = |why| Error::refused(name, why);
        let rest = match &self.root {
            None => name,
            Some(root) => match name.strip_prefix(&root[..]) {
                Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
                _ => return Err(refuse("nobody asked for it, and it is in the archive")),
            },
        };
        let mut path = self.place.name.clone().unwrap_or_default();
        for part in rest.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err(refuse("a name that leads out by `..`")),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        Ok(path)
    }

    /// The directory `path` of the place.
    fn enter(&mut self, path: &[u8]) -> Result<OwnedFd, Error> {
        if let Some((last, folder)) = self.folder.take()
            && last == path
        {
            return Ok(folder);
        }
        match self.open(path) {
            Err(Errno(libc::ENOENT)) if self.rules.parents => self.make_parents(path),
            opened => opened.tried("open the directory", path),
        }
    }

    fn open(&self, path: &[u8]) -> sys::Result<OwnedFd> {
        let name = match path {
            b"" => c".".to_owned(),
            path => sys::string(path)?,
        };
        let folder = self.place.folder.as_fd();
        match self.rules.wary {
            true => tree::open_beneath(folder, &name),
            false => tree::open(folder, &name, libc::O_PATH | libc::O_DIRECTORY, 0),
        }
    }

    fn make_parents(&self, path: &[u8]) -> Result<OwnedFd, Error> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for end in slashes.map(|(at, _)| at).chain([path.len()]) {
            let Some((above, name)) = split(&path[..end]) else {
                continue;
            };
            let made = self.open(above).and_then(|folder| {
                match tree::mkdir(folder.as_fd(), &sys::string(name)?, 0o755) {
                    Err(Errno(libc::EEXIST)) => Ok(()),
                    made => made,
                }
            });
            made.tried("create the directory", &path[..end])?;
        }
        self.open(path).tried("open the directory", path)
    }

    fn file(
        &mut self,
        folder: &OwnedFd,
        name: &CStr,
        entry: &Entry,
        data: &mut impl Read,
    ) -> Result<(), Failed> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let file = replacing(folder, name, || {
            tree::open(folder.as_fd(), name, flags, 0o600)
        })?;
        self.fill(&file, entry, data)?;
        self.give(&file, entry)?;
        tree::set_time_of(&file, entry.mtime)?;
        Ok(())
    }

    /// Writes a file's bytes; stretches of zeros stay holes.
    fn fill(&mut self, file: &OwnedFd, entry: &Entry, data: &mut impl Read) -> Result<(), Failed> {
        let mut at = 0;
        while at < entry.size {
            let most = usize::try_from(entry.size - at).map_or(CHUNK, |left| left.min(CHUNK));
            let chunk = &mut self.buffer[..most];
            data.read_exact(chunk).map_err(Error::Stream)?;
            let is_hole = most == CHUNK && chunk.iter().all(|byte| *byte == 0);
            let mut rest = if is_hole { &[][..] } else { &*chunk };
            let mut to = at;
            while !rest.is_empty() {
                let count = tree::write_at(file, rest, to)?;
                to += count as u64;
                rest = &rest[count..];
            }
            at += most as u64;
        }
        if entry.size > 0 {
            tree::set_size(file, entry.size)?;
        }
        Ok(())
    }

    /// One more name of a file of the same stream, which has to be below the same place.
    fn link(&self, folder: &OwnedFd, name: &CStr, entry: &Entry) -> Result<(), Failed> {
        let target = self.locate(&entry.link)?;
        let (above, old) = split(&target)
            .ok_or_else(|| Error::refused(&entry.name, "a hard link to a directory"))?;
        let (there, old) = (self.open(above)?, sys::string(old)?);
        Ok(replacing(folder, name, || {
            tree::link((there.as_fd(), &old), (folder.as_fd(), name))
        })?)
    }

    /// What is neither a file nor a directory.
    fn node(&self, folder: &OwnedFd, name: &CStr, entry: &Entry) -> Result<(), Failed> {
        let here = folder.as_fd();
        let kind = match entry.kind {
            Kind::Symlink => {
                let target = sys::string(&entry.link)?;
                replacing(folder, name, || tree::symlink(&target, here, name))?;
                if self.rules.owners == Owners::Kept {
                    tree::chown(here, name, entry.uid, entry.gid)?;
                }
                return Ok(tree::set_time(here, name, entry.mtime)?);
            }
            Kind::CharDevice => libc::S_IFCHR,
            Kind::BlockDevice => libc::S_IFBLK,
            _ => libc::S_IFIFO,
        };
        replacing(folder, name, || {
            tree::mknod(here, name, kind | 0o600, entry.device)
        })?;
        if self.rules.owners == Owners::Kept {
            tree::chown(here, name, entry.uid, entry.gid)?;
        }
        tree::chmod_at(here, name, entry.mode & 0o777)?;
        Ok(tree::set_time(here, name, entry.mtime)?)
    }

    /// Gives an open file or directory its owner, attributes and permissions, in this order: a new owner
    /// takes set-uid bits and capabilities away.
    fn give(&self, file: &OwnedFd, entry: &Entry) -> sys::Result<()> {
        let mine = self.rules.owners == Owners::Mine;
        if !mine {
            tree::chown(file.as_fd(), c"", entry.uid, entry.gid)?;
        }
        for (name, value) in &entry.xattrs {
            // These act for the owner, as the bits do.
            if mine && self.rules.wary && name.starts_with(b"security.") {
                continue;
            }
            // A file system that has none, or no right to: the file is whole without.
            let _lacks = tree::set_attribute(file, &sys::string(name)?, value);
        }
        let lost = match (mine && self.rules.wary, entry.kind) {
            (true, Kind::File) => 0o6000,
            _ => 0,
        };
        tree::chmod(file, entry.mode & !lost)
    }

    /// Finishes the directories that `path` is not in.
    fn leave(&mut self, path: Option<&[u8]>) -> Result<(), Error> {
        while let Some(open) = self.within.last() {
            let below = path.and_then(|path| path.strip_prefix(&open.path[..]));
            if below.is_some_and(|rest| rest.starts_with(b"/")) {
                return Ok(());
            }
            let Some(Open { path, entry }) = self.within.pop() else {
                return Ok(());
            };
            self.finish(&path, &entry)
                .tried("finish the directory", &path)?;
        }
        Ok(())
    }

    fn finish(&mut self, path: &[u8], entry: &Entry) -> sys::Result<()> {
        let Some((above, name)) = split(path) else {
            return Ok(());
        };
        let (above, name) = (self.open(above)?, sys::string(name)?);
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let folder = tree::open(above.as_fd(), &name, flags, 0)?;
        self.give(&folder, entry)?;
        tree::set_time_of(&folder, entry.mtime)
    }
}

/// Refuses a name that leads out of where an archive is unpacked.
pub fn check_name(name: &[u8]) -> Result<(), Error> {
    let leads_up = name.split(|byte| *byte == b'/').any(|part| part == b"..");
    match leads_up || name.starts_with(b"/") {
        true => Err(Error::refused(name, "a name that leads out of its archive")),
        false => Ok(()),
    }
}

/// What went wrong with one entry.
enum Failed {
    Kernel(Errno),
    Other(Error),
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

fn make_directory(folder: &OwnedFd, name: &CStr) -> Result<(), Failed> {
    match tree::mkdir(folder.as_fd(), name, 0o700) {
        Err(Errno(libc::EEXIST)) => {
            let stat = tree::stat(folder.as_fd(), name, Links::Kept)?;
            match u32::from(stat.stx_mode) & libc::S_IFMT {
                // The two become one.
                libc::S_IFDIR => Ok(()),
                _ => Err(Errno(libc::ENOTDIR).into()),
            }
        }
        made => Ok(made?),
    }
}

/// Makes something at `name`, in the place of what is there, if that is no directory.
fn replacing<T>(
    folder: &OwnedFd,
    name: &CStr,
    make: impl Fn() -> sys::Result<T>,
) -> sys::Result<T> {
    match make() {
        Err(Errno(libc::EEXIST)) => {
            tree::unlink(folder.as_fd(), name)?;
            make()
        }
        made => made,
    }
}

/// The directory that a path is in, and its name there; `None` of the empty path.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    })
}
