//! What the guest knows of the host's files: each as a descriptor that leads nowhere else (`O_PATH`),
//! under a number, for as long as the guest has not forgotten it.

use std::collections::HashMap;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::wire::ROOT;
use crate::sys::lock::lock;

/// A file of the host.
#[derive(Debug)]
pub struct Inode {
    /// `O_PATH`: names it, and nothing else.
    pub fd: OwnedFd,
    /// The share that it was found in.
    pub share: usize,
    /// The host's device that it is on.
    pub device: u64,
    number: u64,
    kind: FileType,
    /// As it was when the guest opened it last.
    opened: Mutex<Option<Version>>,
}

/// What changes when somebody writes to a file: size, and times of changes with their nanoseconds.
pub type Version = (i64, i64, u64, i64, u64);

/// What makes two descriptors the same inode for the guest. In another share it is another one: there it
/// may be read-only.
type Key = (usize, u64, u64);

impl Inode {
    /// What `fd` names, found in share number `share`.
    pub fn new(share: usize, fd: OwnedFd, stat: &Stat) -> Self {
        Self {
            fd,
            share,
            device: stat.st_dev,
            number: stat.st_ino,
            kind: FileType::from_raw_mode(stat.st_mode),
            opened: Mutex::new(None),
        }
    }

    /// Whether the file is as it was when it was opened last, so that what the guest has read of it since
    /// is what is in it. A change leaves no trace if it comes in the same tick of the clock as the one
    /// before: what was changed less than a second ago, by `now`, is not relied upon.
    pub fn is_unchanged(&self, stat: &Stat, now: i64) -> bool {
        let version = (
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec,
        );
        let settled = now.saturating_sub(stat.st_ctime) > 1 && now > stat.st_mtime;
        let version = settled.then_some(version);
        let before = mem::replace(&mut *lock(&self.opened), version);
        version.is_some() && before == version
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.kind == FileType::Symlink
    }

    fn key(&self) -> Key {
        (self.share, self.device, self.number)
    }
}

/// An inode that the guest knows.
#[derive(Debug)]
struct Known {
    inode: Arc<Inode>,
    /// How often it was looked up and not forgotten.
    lookups: u64,
}

/// All of them. The root, number 1, is none: it is of this device's own making.
#[derive(Debug)]
pub struct Inodes {
    known: HashMap<u64, Known>,
    numbers: HashMap<Key, u64>,
    next: u64,
}

impl Default for Inodes {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            numbers: HashMap::new(),
            next: ROOT + 1,
        }
    }
}

impl Inodes {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Inode number `node`; ESTALE if the guest should not know it.
    pub fn get(&self, node: u64) -> Result<Arc<Inode>, Errno> {
        let known = self.known.get(&node).ok_or(Errno::STALE)?;
        Ok(Arc::clone(&known.inode))
    }

    /// Counts a lookup of `inode`, and gives its number.
    pub fn look_up(&mut self, inode: Arc<Inode>) -> u64 {
        let key = inode.key();
        let next = self.next;
        let node = *self.numbers.entry(key).or_insert(next);
        if node == next {
            self.next += 1;
        }
        let known = self
            .known
            .entry(node)
            .or_insert(Known { inode, lookups: 0 });
        known.lookups = known.lookups.saturating_add(1);
        node
    }

    /// Takes `count` lookups of inode `node` back.
    pub fn forget(&mut self, node: u64, count: u64) {
        let Some(known) = self.known.get_mut(&node) else {
            return;
        };
        known.lookups = known.lookups.saturating_sub(count);
        if known.lookups == 0 {
            let key = known.inode.key();
            self.numbers.remove(&key);
            self.known.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::fstat;

    use super::*;

    fn inode(share: usize, file: &File) -> Arc<Inode> {
        let fd = file.try_clone().unwrap().into();
        Arc::new(Inode::new(share, fd, &fstat(file).unwrap()))
    }

    #[test]
    fn a_file_is_unchanged_if_it_was_old_and_is_the_same() {
        let file = tempfile::tempfile().unwrap();
        let inode = inode(0, &file);
        let stat = fstat(&file).unwrap();
        let (now, later) = (stat.st_ctime, stat.st_ctime + 10);
        assert!(!inode.is_unchanged(&stat, now), "new to us");
        assert!(!inode.is_unchanged(&stat, now), "changed just now");
        assert!(
            !inode.is_unchanged(&stat, later),
            "it could have been changed since"
        );
        assert!(inode.is_unchanged(&stat, later));
        file.set_len(5).unwrap();
        let stat = fstat(&file).unwrap();
        assert!(!inode.is_unchanged(&stat, later));
    }

    #[test]
    fn an_inode_stays_as_long_as_it_is_looked_up_more_often_than_forgotten() {
        let file = tempfile::tempfile().unwrap();
        let mut inodes = Inodes::default();
        let node = inodes.look_up(inode(0, &file));
        assert_ne!(node, ROOT);
        assert_eq!(inodes.look_up(inode(0, &file)), node);
        let elsewhere = inodes.look_up(inode(1, &file));
        assert_ne!(elsewhere, node);
        inodes.forget(node, 1);
        assert!(inodes.get(node).is_ok());
        inodes.forget(node, u64::MAX);
        assert_eq!(inodes.get(node).unwrap_err(), Errno::STALE);
        inodes.forget(node, 1);
        inodes.forget(ROOT, 1);
        assert_eq!(inodes.len(), 1);
        assert_ne!(
            inodes.look_up(inode(0, &file)),
            node,
            "numbers are not used again"
        );
    }
}
