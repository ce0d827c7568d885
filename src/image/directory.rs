//! Walking a tree of the host by descriptors: down by one name, up by `..`, and one directory open
//! at a time. No path is ever put together, so nothing can lead out of the tree, however deep it is,
//! and neither descriptors nor the stack run out.

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, chmod, fchmod, fstat, openat, statat, unlinkat,
};
use rustix::io::Errno;

/// Bytes of a block as stat(2) counts them.
const SECTOR: u64 = 512;

/// What a directory's owner needs to empty it.
const OWNER: Mode = Mode::RWXU;

/// The directory where a walk is.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    /// Device and inode number of this directory and of those above, up to where the walk began.
    trail: Vec<(u64, u64)>,
}

impl Directory {
    /// Begins a walk.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = openat(CWD, path, flags(), Mode::empty())?;
        let trail = vec![identify(&fd)?];
        Ok(Self { fd, trail })
    }

    /// Goes down into the directory `name`; a symbolic link of that name is none.
    pub fn enter(&mut self, name: &[u8]) -> io::Result<()> {
        let fd = openat(&self.fd, name, flags(), Mode::empty())?;
        self.trail.push(identify(&fd)?);
        self.fd = fd;
        Ok(())
    }

    /// Goes up again; gives the directory that it leaves.
    pub fn leave(&mut self) -> io::Result<OwnedFd> {
        let above = openat(&self.fd, c"..", flags(), Mode::empty())?;
        self.trail.pop();
        // Nobody else works in this tree; who moved a directory of it all the same must not lead
        // the walk astray.
        if self.trail.last() != Some(&identify(&above)?) {
            return Err(io::Error::other("somebody moved the directory away"));
        }
        Ok(mem::replace(&mut self.fd, above))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn identify(fd: impl AsFd) -> io::Result<(u64, u64)> {
    let found = fstat(fd)?;
    Ok((found.st_dev, found.st_ino))
}

/// The file `name` itself, whatever it is: neither read nor followed nor waited for.
pub fn pin(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

/// A path that means the file behind a descriptor, for calls that take no pinned one.
pub fn path_of(pinned: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", pinned.as_raw_fd())
}

/// Removes a file or a whole tree, with directories that their owner may not change either. Gives
/// the bytes of its files.
pub fn remove(path: &Path) -> io::Result<u64> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        fs::remove_file(path)?;
        return Ok(found.blocks() * SECTOR);
    }
    let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
    let mut here = Directory::open(path.parent().unwrap_or(Path::new("/")))?;
    let mut bytes = 0;
    // The directory on its way out and what is left below it, from the top down.
    let mut levels = vec![(name.clone(), clear_files(&mut here, &name, &mut bytes)?)];
    while let Some((_, below)) = levels.last_mut() {
        if let Some(name) = below.pop() {
            let below = clear_files(&mut here, &name, &mut bytes)?;
            levels.push((name, below));
        } else if let Some((name, _)) = levels.pop() {
            here.leave()?;
            unlinkat(&here, name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(bytes)
}

/// Enters the directory `name` and removes what is no directory there; gives the names that are.
fn clear_files(here: &mut Directory, name: &[u8], bytes: &mut u64) -> io::Result<Vec<Vec<u8>>> {
    match here.enter(name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            chmod(path_of(&pin(&here, name)?), OWNER)?;
            here.enter(name)?;
        }
        entered => entered?,
    }
    // Its owner may always; for root there is nothing to change, and others fail below.
    let found = Mode::from_raw_mode(fstat(&here)?.st_mode);
    if !found.contains(OWNER) {
        match fchmod(&here, OWNER) {
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut below = Vec::new();
    let names: Result<Vec<_>, Errno> = Dir::read_from(&here)?
        .map(|entry| Ok(entry?.file_name().to_owned()))
        .collect();
    for name in names? {
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = statat(&here, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            below.push(name.into_bytes());
            continue;
        }
        unlinkat(&here, &name, AtFlags::empty())?;
        // A file of several names takes its space until the last of them.
        if found.st_nlink == 1 {
            *bytes += found.st_blocks.cast_unsigned() * SECTOR;
        }
    }
    Ok(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkdirat;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn trees_go_however_deep_and_whatever_their_owner_may() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir(&top).unwrap();
        fs::write(folder.path().join("outside"), "stays").unwrap();
        symlink(folder.path(), top.join("link")).unwrap();
        fs::create_dir(top.join("closed")).unwrap();
        fs::write(top.join("closed/file"), [1; 5000]).unwrap();
        fs::hard_link(top.join("closed/file"), top.join("again")).unwrap();
        fs::set_permissions(top.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        let mut here = Directory::open(&top).unwrap();
        for _ in 0..3000 {
            mkdirat(&here, "d", Mode::RWXU).unwrap();
            here.enter(b"d").unwrap();
        }
        let bytes = remove(&top).unwrap();
        assert_eq!(bytes, 8192);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn links_are_no_directories_and_a_moved_one_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        symlink("a", path("link")).unwrap();
        let mut here = Directory::open(folder.path()).unwrap();
        assert!(here.enter(b"link").is_err());
        here.enter(b"a").unwrap();
        here.enter(b"b").unwrap();
        fs::rename(path("a/b"), path("b")).unwrap();
        assert!(here.leave().is_err());
    }
}
