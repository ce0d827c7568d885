//! From files to a stream: a walk by descriptors, one open directory at a time, in the order of names.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::vec;

use super::error::Tried;
use super::tar::Writer;
use super::{CHUNK, Entry, Error, Kind};
use crate::sys::tree::{self, Links, Stat};
use crate::sys::{self, Errno, file};

/// What is packed of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether the path itself is followed where it is a link (`cp -L`).
    pub follow: bool,
    /// Whether other file systems that are mounted on the tree are left out.
    pub one_system: bool,
}

/// Attributes that an archive carries; the others are a file system's own.
const CARRIED: [&[u8]; 3] = [b"user.", b"security.capability", b"system.posix_acl_"];

/// What an ordinary user's overlay notes for itself.
const OVERLAY: &[u8] = b"user.overlay.";

/// Most bytes of a file that says it has none, as those of /proc do.
const MOST_UNSAID: usize = 1 << 20;

/// Packs `path` and what is below it, as `name` and below that; without a name, what is below only.
pub fn pack<W: Write>(
    path: &[u8],
    name: &[u8],
    options: Options,
    to: &mut Writer<W>,
) -> Result<(), Error> {
    let start = sys::string(path).tried("find", path)?;
    let links = match options.follow {
        true => Links::Followed,
        false => Links::Kept,
    };
    let stat = tree::stat(tree::HERE, &start, links).tried("find", path)?;
    let mut walk = Walk::new(to, path, options.one_system);
    walk.name = name.to_vec();
    if is_directory(&stat) {
        let folder = tree::open(tree::HERE, &start, libc::O_RDONLY | libc::O_DIRECTORY, 0);
        walk.tree(folder.tried("open", path)?, |_, _| Ok(Step::Usual))
    } else {
        walk.leaf(tree::HERE, &start, links, &stat)
    }
}

/// What the walk does with an entry.
pub enum Step {
    /// What it does with all.
    Usual,
    /// Nothing.
    Skip,
    /// What it does with all, and an empty file of this name in it first.
    Marked(&'static [u8]),
}

/// A directory of the walk: what is left of it, the length of its name, and which it is.
struct Level {
    rest: vec::IntoIter<CString>,
    length: usize,
    id: (u32, u32, u64),
}

/// A walk, and where it is.
pub struct Walk<'a, W: Write> {
    pub to: &'a mut Writer<W>,
    /// The entry's name in the archive.
    pub name: Vec<u8>,
    /// Where the walk began, for who reads of an error.
    root: Vec<u8>,
    one_system: bool,
    /// Files of several names, by the first one.
    linked: BTreeMap<(u32, u32, u64), Vec<u8>>,
}

/// What is looked at before the walk goes on: the directory that it is in, and a name there.
pub type Look<'a> = (BorrowedFd<'a>, &'a CStr, &'a Stat);

impl<'a, W: Write> Walk<'a, W> {
    pub fn new(to: &'a mut Writer<W>, root: &[u8], one_system: bool) -> Self {
        Self {
            to,
            name: Vec::new(),
            root: root.to_vec(),
            one_system,
            linked: BTreeMap::new(),
        }
    }

    /// Packs an open directory and what is below it. `step` is asked of everything below first.
    pub fn tree(
        &mut self,
        mut here: OwnedFd,
        mut step: impl FnMut(&mut Self, Look<'_>) -> Result<Step, Error>,
    ) -> Result<(), Error> {
        let mut levels = vec![self.enter(&here)?];
        while let Some(level) = levels.last_mut() {
            self.name.truncate(level.length);
            let Some(child) = level.rest.next() else {
                levels.pop();
                if let Some(above) = levels.last() {
                    here = self.leave(&here, above)?;
                }
                continue;
            };
            self.join(child.to_bytes());
            let Ok(stat) = tree::stat(here.as_fd(), &child, Links::Kept) else {
                // Gone since its name was read.
                continue;
            };
            let mark = match step(self, (here.as_fd(), &child, &stat))? {
                Step::Skip => continue,
                Step::Marked(mark) => Some(mark),
                Step::Usual => None,
            };
            if !is_directory(&stat) {
                self.leaf(here.as_fd(), &child, Links::Kept, &stat)?;
            } else if self.one_system && is_mounted(&stat) {
                self.to.begin(&entry(&self.name, Kind::Directory, &stat))?;
            } else if let Some(below) = self.open_folder(here.as_fd(), &child)? {
                levels.push(self.enter(&below)?);
                here = below;
                if let Some(mark) = mark {
                    self.mark(mark)?;
                }
            }
        }
        Ok(())
    }

    /// An empty file called `name` in the directory where the walk is.
    pub fn mark(&mut self, name: &[u8]) -> Result<(), Error> {
        self.to.begin(&Entry {
            name: [&self.name[..], b"/", name].concat(),
            ..Entry::default()
        })
    }

    /// Packs what is no directory.
    pub fn leaf(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        links: Links,
        stat: &Stat,
    ) -> Result<(), Error> {
        let mode = u32::from(stat.stx_mode) & libc::S_IFMT;
        let kind = match mode {
            libc::S_IFREG => return self.file(folder, name, links),
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFCHR => Kind::CharDevice,
            libc::S_IFBLK => Kind::BlockDevice,
            libc::S_IFIFO => Kind::Fifo,
            // A socket is its server's, and an archive has no word for it.
            _ => return Ok(()),
        };
        let mut entry = entry(&self.name, kind, stat);
        if kind == Kind::Symlink {
            let target = tree::read_link(folder, name);
            entry.link = target.tried("read", &self.shown())?;
        }
        entry.device = (stat.stx_rdev_major, stat.stx_rdev_minor);
        self.to.begin(&entry)
    }

    fn file(&mut self, folder: BorrowedFd<'_>, name: &CStr, links: Links) -> Result<(), Error> {
        // Between the look and this it may have become a pipe, or a link.
        let mut flags = libc::O_RDONLY | libc::O_NONBLOCK;
        if links == Links::Kept {
            flags |= libc::O_NOFOLLOW;
        }
        let opened = match tree::open(folder, name, flags, 0) {
            Err(Errno(libc::ENOENT | libc::ELOOP | libc::ENXIO)) => return Ok(()),
            opened => opened.tried("open", &self.shown())?,
        };
        let stat = tree::stat(opened.as_fd(), c"", Links::Kept).tried("look at", &self.shown())?;
        if u32::from(stat.stx_mode) & libc::S_IFMT != libc::S_IFREG {
            return Ok(());
        }
        let mut entry = entry(&self.name, Kind::File, &stat);
        if stat.stx_nlink > 1 {
            if let Some(first) = self.linked.get(&id(&stat)) {
                entry.kind = Kind::Link;
                entry.link.clone_from(first);
                return self.to.begin(&entry);
            }
            self.linked.insert(id(&stat), self.name.clone());
        }
        entry.xattrs = xattrs(&opened);
        entry.size = stat.stx_size;
        if entry.size < CHUNK as u64 {
            self.small(&opened, entry)
        } else {
            self.large(&opened, &entry)
        }
    }

    /// A file that is read before its size is said.
    fn small(&mut self, opened: &OwnedFd, mut entry: Entry) -> Result<(), Error> {
        let most = match entry.size {
            0 => MOST_UNSAID,
            _ => CHUNK,
        };
        // One byte more, in which the end is seen.
        let mut bytes = vec![0; usize::try_from(entry.size).unwrap_or(0) + 1];
        let mut filled = 0;
        loop {
            if filled == bytes.len() {
                if filled == most {
                    break;
                }
                bytes.resize((filled + CHUNK).min(most), 0);
            }
            match file::read(opened, &mut bytes[filled..]).tried("read", &self.shown())? {
                0 => break,
                count => filled += count,
            }
        }
        entry.size = filled as u64;
        self.to.begin(&entry)?;
        self.to.data(&bytes[..filled])
    }

    /// A file as long as it was when it was opened: what is cut off meanwhile is zeros.
    fn large(&mut self, opened: &OwnedFd, entry: &Entry) -> Result<(), Error> {
        self.to.begin(entry)?;
        let mut left = entry.size;
        let mut buffer = vec![0; CHUNK];
        while left > 0 {
            let most = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            match file::read(opened, &mut buffer[..most]).tried("read", &self.shown())? {
                0 => return self.to.fill(),
                count => {
                    self.to.data(&buffer[..count])?;
                    left -= count as u64;
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, folder: &OwnedFd) -> Result<Level, Error> {
        let stat = tree::stat(folder.as_fd(), c"", Links::Kept).tried("look at", &self.shown())?;
        if !self.name.is_empty() {
            let mut entry = entry(&self.name, Kind::Directory, &stat);
            entry.xattrs = xattrs(folder);
            self.to.begin(&entry)?;
        }
        let names = tree::names(folder).tried("read", &self.shown())?;
        Ok(Level {
            rest: names.into_iter(),
            length: self.name.len(),
            id: id(&stat),
        })
    }

    /// One directory up, which has to be the one that the walk came from.
    fn leave(&self, here: &OwnedFd, above: &Level) -> Result<OwnedFd, Error> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let up = tree::open(here.as_fd(), c"..", flags, 0).tried("leave", &self.shown())?;
        let stat = tree::stat(up.as_fd(), c"", Links::Kept).tried("leave", &self.shown())?;
        match id(&stat) == above.id {
            true => Ok(up),
            false => Err(Error::refused(
                &self.shown(),
                "it was moved while it was read",
            )),
        }
    }

    /// A directory to go down to; `None` when it is none any more.
    pub fn open_folder(
        &self,
        folder: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<Option<OwnedFd>, Error> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        match tree::open(folder, name, flags, 0) {
            Err(Errno(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => Ok(None),
            opened => opened.tried("open", &self.shown()).map(Some),
        }
    }

    /// Goes on to a name below the one where the walk is.
    pub fn join(&mut self, name: &[u8]) {
        if !self.name.is_empty() {
            self.name.push(b'/');
        }
        self.name.extend_from_slice(name);
    }

    /// Where the walk is, for people.
    fn shown(&self) -> Vec<u8> {
        let below = self.name.iter().position(|byte| *byte == b'/');
        match below {
            Some(at) => [&self.root, &self.name[at..]].concat(),
            None => self.root.clone(),
        }
    }
}

fn is_directory(stat: &Stat) -> bool {
    u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFDIR
}

fn is_mounted(stat: &Stat) -> bool {
    stat.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0
}

fn id(stat: &Stat) -> (u32, u32, u64) {
    (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)
}

pub fn entry(name: &[u8], kind: Kind, stat: &Stat) -> Entry {
    Entry {
        name: name.to_vec(),
        kind,
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        mtime: stat.stx_mtime.tv_sec,
        ..Entry::default()
    }
}

/// Those that an archive carries, as far as they can be read.
fn xattrs(file: &OwnedFd) -> Vec<(Vec<u8>, Vec<u8>)> {
    let names = tree::attributes(file).unwrap_or_default();
    let carried = |name: &CString| {
        let name = name.to_bytes();
        // Records end their names with `=`.
        let sayable = !name.starts_with(OVERLAY) && !name.contains(&b'=');
        sayable && CARRIED.iter().any(|kind| name.starts_with(kind))
    };
    let values = names.into_iter().filter(carried).filter_map(|name| {
        let value = tree::attribute(file, &name).ok()?;
        Some((name.into_bytes(), value))
    });
    values.collect()
}
