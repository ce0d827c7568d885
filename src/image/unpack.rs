//! Writes a merged tree into a directory of the host, for the wall that has no disk.
//!
//! ```text
//! FOLDER/root/     the tree
//! FOLDER/links/    while it is made: files of several names, under their numbers
//! ```
//! The image's paths are walked name by name ([`Directory`]), everything is created and never opened
//! by a name that was there, so there is nothing to follow out of the folder. A file of several names
//! is made in `links` and linked from there: no path has to be walked twice, and no descriptor kept.
//!
//! The order of what is set on a file matters. A new owner takes the set-uid bit and
//! `security.capability` away, attributes need a file that may be written, and all of them come before the
//! time. A directory gets its own when all that it names is there: a default ACL or a set-gid bit
//! would be inherited, a time would move, and its owner may have no right to write.

mod content;
mod shortfall;
#[cfg(test)]
mod tests;

use std::collections::btree_map;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmod,
    chownat, fchmod, fchown, fsetxattr, fstat, fstatvfs, futimens, linkat, makedev, mkdirat,
    mknodat, openat, setxattr, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::directory::{Directory, path_of, pin};
use super::error::printable;
use super::merge::{Id, Inode, Kind, Tree};
use super::tree::{Device, Meta};
use crate::spec::sentence::words;
use content::Blobs;
pub use shortfall::{Lack, Lacking, Shortfall};

/// The tree, in the folder that it is written to.
pub const ROOT: &str = "root";

/// See above.
const LINKS: &str = "links";

/// Permissions while a file is being made; nobody else reads a half of it.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const PRIVATE_DIRECTORY: Mode = Mode::RWXU;

const SET_UID: u16 = 0o4000;
const SET_GID: u16 = 0o2000;

/// Times that every file system of today can say.
const SURE_TIMES: RangeInclusive<i64> = 0..=i32::MAX as i64;

/// A disk with less room than this is full, and not one that takes no long attributes.
const FULL: u64 = 1 << 20;

/// A real failure, and where.
#[derive(Debug)]
pub struct Failure {
    /// The path in the image, printable.
    pub entry: String,
    /// Why.
    pub source: io::Error,
}

/// Writes `tree` below `folder`, which has to be there. Blob `n` of it is `blobs[n - 1]`.
pub fn write(tree: &Tree, blobs: &[PathBuf], folder: &Path) -> Result<Shortfall, Failure> {
    let begin = || -> io::Result<(Directory, Directory)> {
        mkdirat(CWD, folder.join(LINKS), PRIVATE_DIRECTORY)?;
        mkdirat(CWD, folder.join(ROOT), PRIVATE_DIRECTORY)?;
        Ok((
            Directory::open(&folder.join(ROOT))?,
            Directory::open(&folder.join(LINKS))?,
        ))
    };
    let mut path = Vec::new();
    let written = begin().and_then(|(here, links)| {
        let mut writing = Writing {
            tree,
            blobs: Blobs::new(blobs),
            names: count_names(tree),
            linked: vec![None; tree.id_bound()],
            links,
            shortfall: Shortfall::default(),
        };
        writing.walk(here, &mut path)?;
        writing.drop_links()?;
        unlinkat(CWD, folder.join(LINKS), AtFlags::REMOVEDIR)?;
        Ok(writing.shortfall)
    });
    written.map_err(|source| Failure {
        entry: printable(&show(&path)),
        source,
    })
}

/// How many names lead to each inode.
fn count_names(tree: &Tree) -> Vec<u32> {
    let mut names = vec![0; tree.id_bound()];
    let mut directories = vec![tree.root()];
    while let Some(directory) = directories.pop() {
        let Kind::Directory(below) = &tree.inode(directory).kind else {
            continue;
        };
        for id in below.values() {
            names[*id] += 1;
            if let Kind::Directory(_) = tree.inode(*id).kind {
                directories.push(*id);
            }
        }
    }
    names
}

/// A path in the image.
fn show(names: &[&[u8]]) -> Vec<u8> {
    [b"/", &names.join(&b'/')[..]].concat()
}

/// A directory of the walk, and what is left of it.
struct Level<'t> {
    meta: &'t Meta,
    rest: btree_map::Iter<'t, Vec<u8>, Id>,
}

struct Writing<'t> {
    tree: &'t Tree,
    blobs: Blobs<'t>,
    names: Vec<u32>,
    /// Of inodes with several names: whether the file is in `links`, once that was tried.
    linked: Vec<Option<bool>>,
    links: Directory,
    shortfall: Shortfall,
}

/// What attributes are set on.
#[derive(Clone, Copy)]
enum Target<'a> {
    /// A regular file or a directory, open.
    Open(BorrowedFd<'a>, FileType),
    /// Anything else: to open a device or a pipe would do more than that.
    Named(BorrowedFd<'a>, &'a [u8], FileType),
}

impl<'t> Writing<'t> {
    /// Fills `here` with the tree. `path` is always the entry at work.
    fn walk(&mut self, mut here: Directory, path: &mut Vec<&'t [u8]>) -> io::Result<()> {
        let tree = self.tree;
        let mut levels = Vec::new();
        levels.extend(level(tree.inode(tree.root())));
        while let Some(top) = levels.last_mut() {
            if let Some((name, id)) = top.rest.next() {
                path.push(name);
                let inode = tree.inode(*id);
                if let Some(below) = level(inode) {
                    mkdirat(&here, name.as_slice(), PRIVATE_DIRECTORY)?;
                    here.enter(name)?;
                    levels.push(below);
                } else {
                    self.place(here.as_fd(), name, *id, path)?;
                    path.pop();
                }
            } else if let Some(done) = levels.pop() {
                // Up first: the directory's own permissions may forbid it later.
                let left = if levels.is_empty() {
                    here.as_fd().try_clone_to_owned()?
                } else {
                    here.leave()?
                };
                let target = Target::Open(left.as_fd(), FileType::Directory);
                self.set_meta(target, done.meta, path)?;
                path.pop();
            }
        }
        Ok(())
    }

    /// Gives an inode that is no directory one of its names.
    fn place(
        &mut self,
        here: BorrowedFd<'_>,
        name: &[u8],
        id: Id,
        path: &[&[u8]],
    ) -> io::Result<()> {
        let inode = self.tree.inode(id);
        if self.names[id] < 2 {
            return self.make(here, name, inode, path).map(drop);
        }
        let links = self.links.as_fd().try_clone_to_owned()?;
        let number = id.to_string().into_bytes();
        let made = match self.linked[id] {
            Some(made) => made,
            None => self.make(links.as_fd(), &number, inode, path)?,
        };
        self.linked[id] = Some(made);
        if made {
            linkat(&links, &number[..], here, name, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Makes what is no directory; false if this process may not.
    fn make(
        &mut self,
        here: BorrowedFd<'_>,
        name: &[u8],
        inode: &Inode,
        path: &[&[u8]],
    ) -> io::Result<bool> {
        let node = |kind, device| mknodat(here, name, kind, PRIVATE_FILE, device);
        let number = |device: &Device| makedev(device.major, device.minor);
        let (kind, made) = match &inode.kind {
            Kind::Directory(_) => return Ok(false),
            Kind::File { blob, size, offset } => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = openat(here, name, flags, PRIVATE_FILE)?;
                self.blobs.copy(*blob, *offset, *size, &file)?;
                let target = Target::Open(file.as_fd(), FileType::RegularFile);
                self.set_meta(target, &inode.meta, path)?;
                return Ok(true);
            }
            Kind::Symlink(to) => (FileType::Symlink, symlinkat(&to[..], here, name)),
            Kind::CharDevice(device) => {
                let kind = FileType::CharacterDevice;
                (kind, node(kind, number(device)))
            }
            Kind::BlockDevice(device) => {
                let kind = FileType::BlockDevice;
                (kind, node(kind, number(device)))
            }
            Kind::Fifo => (FileType::Fifo, node(FileType::Fifo, 0)),
        };
        if let (Kind::CharDevice(device) | Kind::BlockDevice(device), Err(Errno::PERM)) =
            (&inode.kind, made)
        {
            let what = || {
                format!(
                    "{}:{}: {}",
                    device.major,
                    device.minor,
                    words(&Errno::PERM.into())
                )
            };
            self.shortfall.note(Lack::Device, &show(path), what);
            return Ok(false);
        }
        made?;
        self.set_meta(Target::Named(here, name, kind), &inode.meta, path)?;
        Ok(true)
    }

    /// Takes the names away under which files of several names were made.
    fn drop_links(&self) -> io::Result<()> {
        for (id, made) in self.linked.iter().enumerate() {
            if *made == Some(true) {
                unlinkat(&self.links, id.to_string(), AtFlags::empty())?;
            }
        }
        Ok(())
    }

    fn set_meta(&mut self, target: Target<'_>, meta: &Meta, path: &[&[u8]]) -> io::Result<()> {
        let (owned, grouped) = self.set_owner(target, meta, path)?;
        for (name, value) in &meta.xattrs {
            self.set_xattr(target, name, value, path)?;
        }
        let mut mode = meta.mode;
        if target.kind() == FileType::RegularFile {
            // These bits act for the owner: not for another one.
            let lost = if owned { 0 } else { SET_UID } | if grouped { 0 } else { SET_GID };
            if mode & lost != 0 {
                let what = || format!("mode {mode:04o}");
                self.shortfall.note(Lack::SetId, &show(path), what);
            }
            mode &= !lost;
        }
        target.set_mode(Mode::from_raw_mode(mode.into()))?;
        self.set_time(target, meta, path)
    }

    /// Sets owner and group, or what this process may of them; says which of them are set.
    fn set_owner(
        &mut self,
        target: Target<'_>,
        meta: &Meta,
        path: &[&[u8]],
    ) -> io::Result<(bool, bool)> {
        // All bits set is nobody's number, and means "leave it" to the kernel.
        let uid = (meta.uid != u32::MAX).then(|| Uid::from_raw(meta.uid));
        let gid = (meta.gid != u32::MAX).then(|| Gid::from_raw(meta.gid));
        if uid.is_some() && gid.is_some() && target.set_owner(uid, gid).is_ok() {
            return Ok((true, true));
        }
        let mut refused = Errno::INVAL;
        let mut set = |known: bool, outcome: Result<(), Errno>| match outcome {
            Ok(()) => Ok(known),
            // Numbers without a meaning in this user namespace, or no right to give files away.
            Err(errno @ (Errno::INVAL | Errno::PERM | Errno::OVERFLOW)) => {
                refused = errno;
                Ok(false)
            }
            Err(errno) => Err(errno),
        };
        let grouped = set(gid.is_some(), target.set_owner(None, gid))?;
        let owned = set(uid.is_some(), target.set_owner(uid, None))?;
        if !(owned && grouped) {
            let what = || format!("{}:{}: {}", meta.uid, meta.gid, words(&refused.into()));
            self.shortfall.note(Lack::Owner, &show(path), what);
        }
        Ok((owned, grouped))
    }

    fn set_xattr(
        &mut self,
        target: Target<'_>,
        name: &[u8],
        value: &[u8],
        path: &[&[u8]],
    ) -> io::Result<()> {
        let errno = match target.set_xattr(name, value) {
            Ok(()) => return Ok(()),
            Err(errno) => errno,
        };
        let refused = match errno {
            Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL => true,
            Errno::TOOBIG | Errno::RANGE => true,
            // File systems say so too of an attribute that none of their blocks can hold.
            Errno::NOSPC => {
                let disk = fstatvfs(&self.links)?;
                disk.f_bavail.saturating_mul(disk.f_frsize) > FULL
            }
            _ => false,
        };
        if !refused {
            return Err(errno.into());
        }
        let what = || format!("{}: {}", printable(name), words(&errno.into()));
        self.shortfall.note(Lack::Attribute, &show(path), what);
        Ok(())
    }

    fn set_time(&mut self, target: Target<'_>, meta: &Meta, path: &[&[u8]]) -> io::Result<()> {
        let time = Timespec {
            tv_sec: meta.mtime,
            tv_nsec: meta.mtime_nsec.min(999_999_999).into(),
        };
        target.set_time(time)?;
        if !SURE_TIMES.contains(&meta.mtime) && target.time()? != meta.mtime {
            let what = || format!("{} s since 1970", meta.mtime);
            self.shortfall.note(Lack::Time, &show(path), what);
        }
        Ok(())
    }
}

/// The walk of a directory.
fn level(inode: &Inode) -> Option<Level<'_>> {
    match &inode.kind {
        Kind::Directory(names) => Some(Level {
            meta: &inode.meta,
            rest: names.iter(),
        }),
        _ => None,
    }
}

impl Target<'_> {
    fn kind(self) -> FileType {
        match self {
            Self::Open(_, kind) | Self::Named(_, _, kind) => kind,
        }
    }

    fn set_owner(self, uid: Option<Uid>, gid: Option<Gid>) -> Result<(), Errno> {
        match self {
            Self::Open(fd, _) => fchown(fd, uid, gid),
            Self::Named(here, name, _) => chownat(here, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn set_xattr(self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd, _) => fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Named(here, file, _) => {
                let pinned = pin(here, file)?;
                setxattr(path_of(&pinned), name, value, XattrFlags::empty())
            }
        }
    }

    /// Links have no permissions.
    fn set_mode(self, mode: Mode) -> Result<(), Errno> {
        match self {
            Self::Open(fd, _) => fchmod(fd, mode),
            Self::Named(_, _, FileType::Symlink) => Ok(()),
            Self::Named(here, name, _) => chmod(path_of(&pin(here, name)?), mode),
        }
    }

    fn set_time(self, time: Timespec) -> Result<(), Errno> {
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        match self {
            Self::Open(fd, _) => futimens(fd, &times),
            Self::Named(here, name, _) => utimensat(here, name, &times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn time(self) -> Result<i64, Errno> {
        let found = match self {
            Self::Open(fd, _) => fstat(fd)?,
            Self::Named(here, name, _) => statat(here, name, AtFlags::SYMLINK_NOFOLLOW)?,
        };
        Ok(found.st_mtime)
    }
}
