//! Files and directories that the host wants in the guest, whatever the image has in their place.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use crate::exit::{Failure, Stage};
use crate::failure::At;
use crate::job::GuestFile;
use crate::sys::{self, Errno, Result, file};

/// Writes the host's files.
pub fn write(files: &[GuestFile]) -> std::result::Result<(), Failure> {
    for wanted in files {
        replace(wanted).at(Stage::Files, &wanted.path)?;
    }
    Ok(())
}

/// A directory that is there now, and whether it was there before.
#[derive(Debug, PartialEq, Eq)]
pub enum Directory {
    /// The image has something at this path.
    Found,
    /// It was made, with its parents.
    Made,
}

/// Makes a directory and its missing parents, owned by root.
pub fn make_directory(path: &[u8]) -> Result<Directory> {
    let name = sys::string(path)?;
    match file::mkdir(&name, 0o755) {
        Ok(()) => Ok(Directory::Made),
        Err(Errno(libc::EEXIST)) => Ok(Directory::Found),
        Err(Errno(libc::ENOENT)) => {
            make_directory(parent(path).ok_or(Errno(libc::ENOENT))?)?;
            file::mkdir(&name, 0o755).map(|()| Directory::Made)
        }
        Err(error) => Err(error),
    }
}

/// Makes an empty file and its missing parents, unless something is there: something is mounted on it.
pub fn make_file(path: &[u8]) -> Result<()> {
    let name = sys::string(path)?;
    if file::stat(&name).is_ok() {
        return Ok(());
    }
    if let Some(parent) = parent(path) {
        make_directory(parent)?;
    }
    file::open(&name, libc::O_WRONLY | libc::O_CREAT, 0o644).map(drop)
}

/// A file of its own: a link in its place is replaced and not followed, so that nothing else in
/// the image changes.
fn replace(wanted: &GuestFile) -> Result<()> {
    let path = sys::string(&wanted.path)?;
    let file = match create(&path, wanted.mode) {
        Err(Errno(libc::EEXIST)) => {
            file::unlink(&path)?;
            create(&path, wanted.mode)
        }
        Err(Errno(libc::ENOENT)) => {
            make_directory(parent(&wanted.path).ok_or(Errno(libc::ENOENT))?)?;
            create(&path, wanted.mode)
        }
        answer => answer,
    }?;
    let mut rest = wanted.content.as_slice();
    while !rest.is_empty() {
        rest = &rest[file::write(&file, rest)?..];
    }
    Ok(())
}

fn create(path: &CStr, mode: u32) -> Result<OwnedFd> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
    file::open(path, flags, mode & 0o7777)
}

/// The path without its last component; `None` when there is nothing above.
fn parent(path: &[u8]) -> Option<&[u8]> {
    let trimmed = path.trim_suffix_slashes();
    let cut = trimmed.iter().rposition(|byte| *byte == b'/')?;
    let above = trimmed[..cut].trim_suffix_slashes();
    (!above.is_empty()).then_some(above)
}

trait Slashes {
    fn trim_suffix_slashes(&self) -> &Self;
}

impl Slashes for [u8] {
    fn trim_suffix_slashes(&self) -> &Self {
        let end = self.iter().rposition(|byte| *byte != b'/');
        &self[..end.map_or(0, |last| last + 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::clear_umask;
    use crate::testing::Scratch;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn parents_of_paths() {
        assert_eq!(parent(b"/a/b"), Some(&b"/a"[..]));
        assert_eq!(parent(b"/a//b//"), Some(&b"/a"[..]));
        assert_eq!(parent(b"/a"), None);
        assert_eq!(parent(b"a"), None);
        assert_eq!(parent(b"/"), None);
        assert_eq!(parent(b""), None);
    }

    #[test]
    fn directories_are_made_with_their_parents() {
        let scratch = Scratch::new();
        let deep = scratch.path("a/b/c/");
        assert_eq!(make_directory(&deep), Ok(Directory::Made));
        assert_eq!(make_directory(&deep), Ok(Directory::Found));
        fs::write(scratch.at("file"), "").unwrap();
        let below = scratch.path("file/x");
        assert_eq!(make_directory(&below), Err(Errno(libc::ENOTDIR)));
        assert_eq!(make_directory(b"a\0b"), Err(Errno(libc::EINVAL)));
    }

    #[test]
    fn a_file_to_mount_on_is_made_once() {
        let scratch = Scratch::new();
        make_file(&scratch.path("a/b/file")).unwrap();
        assert_eq!(fs::read(scratch.at("a/b/file")).unwrap(), b"");
        fs::write(scratch.at("a/b/file"), "kept").unwrap();
        make_file(&scratch.path("a/b/file")).unwrap();
        assert_eq!(fs::read(scratch.at("a/b/file")).unwrap(), b"kept");
    }

    #[test]
    fn a_file_replaces_a_file_or_a_link_and_leaves_the_links_target_alone() {
        clear_umask();
        let scratch = Scratch::new();
        fs::write(scratch.at("target"), "old").unwrap();
        symlink(scratch.at("target"), scratch.at("link")).unwrap();
        symlink("nowhere/at/all", scratch.at("dangling")).unwrap();
        for name in ["target2", "link", "dangling", "new/dir/file", "link"] {
            let wanted = GuestFile {
                path: scratch.path(name),
                mode: 0o664,
                content: name.into(),
            };
            write(&[wanted]).unwrap();
            assert_eq!(fs::read_to_string(scratch.at(name)).unwrap(), name);
            let mode = fs::symlink_metadata(scratch.at(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode, 0o100_664);
        }
        assert_eq!(fs::read_to_string(scratch.at("target")).unwrap(), "old");
    }

    #[test]
    fn a_directory_in_a_files_place_is_a_failure_with_its_path() {
        let scratch = Scratch::new();
        let wanted = GuestFile {
            path: scratch.path(""),
            ..GuestFile::default()
        };
        let failure = write(std::slice::from_ref(&wanted)).unwrap_err();
        assert_eq!((failure.stage, failure.errno), (Stage::Files, libc::EISDIR));
        assert_eq!(failure.detail, wanted.path);
    }
}
