//! What a new volume begins with: a copy of what the image has where it is mounted, as docker does.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, mknodat, openat2,
    utimensat,
};

/// Directories deeper than this are nobody's, and would end the stack.
const DEEPEST: usize = 200;

/// Copies the directory `target` of the image whose tree is in `tree` to `place`, which is made. Whether
/// the image has such a directory. Links of the image's lead to somewhere inside of it.
pub fn copy(tree: &Path, target: &str, place: &Path) -> io::Result<bool> {
    let root = File::open(tree)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = openat2(&root, target, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let Ok(found) = found else {
        return Ok(false);
    };
    let from = format!("/proc/self/fd/{}/.", found.as_raw_fd());
    copy_directory(Path::new(&from), place, 0)?;
    Ok(true)
}

fn copy_directory(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_entry(&entry.path(), &to.join(entry.file_name()), depth + 1)?;
    }
    copy_attributes(from, to)
}

/// One entry; a device or a socket is left out.
fn copy_entry(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    let kind = FileType::from_raw_mode(fs::symlink_metadata(from)?.mode());
    match kind {
        FileType::Directory => return copy_directory(from, to, depth),
        FileType::RegularFile => fs::copy(from, to).map(drop)?,
        FileType::Symlink => symlink(fs::read_link(from)?, to)?,
        FileType::Fifo => mknodat(CWD, to, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?,
        _ => return Ok(()),
    }
    copy_attributes(from, to)
}

/// Owner as far as this user may, then the mode, which that would change, then the times.
fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(from)?;
    let owned = lchown(to, Some(found.uid()), Some(found.gid()));
    owned.or_else(|error| match error.kind() {
        // An ordinary user's files are its own, and root's in the guest.
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => Ok(()),
        _ => Err(error),
    })?;
    if !found.is_symlink() {
        fs::set_permissions(to, Permissions::from_mode(found.mode() & 0o7777))?;
    }
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(found.atime(), found.atime_nsec()),
        last_modification: time(found.mtime(), found.mtime_nsec()),
    };
    Ok(utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_what_the_image_has_and_nothing_of_the_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, place) = (folder.path().join("tree"), folder.path().join("data"));
        fs::create_dir_all(tree.join("srv/data/sub")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(tree.join("srv/data/sub/file"), "seed").unwrap();
        fs::set_permissions(tree.join("srv/data/sub"), Permissions::from_mode(0o1770)).unwrap();
        symlink("/etc/passwd", tree.join("srv/data/link")).unwrap();
        symlink("/srv", tree.join("alias")).unwrap();
        symlink("../../outside", tree.join("escape")).unwrap();
        assert!(copy(&tree, "/alias/data", &place).unwrap());
        assert_eq!(fs::read(place.join("sub/file")).unwrap(), b"seed");
        let mode = fs::metadata(place.join("sub")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o1770);
        let link = fs::read_link(place.join("link")).unwrap();
        assert_eq!(link, Path::new("/etc/passwd"));
        for nothing in ["/escape", "/gone", "/srv/data/sub/file"] {
            assert!(!copy(&tree, nothing, &folder.path().join("x")).unwrap());
        }
    }
}
