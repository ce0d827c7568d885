//! What directories hold.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::sync::Arc;

use rustix::fs::{FileType, RawDir, SeekFrom, seek};
use rustix::io::Errno;

use super::inodes::Inode;
use super::server::{Reply, Server};
use super::wire::Answer;

/// Most bytes of an answer, and of what the host is asked for at once.
const MOST: usize = 64 << 10;
const AT_ONCE: usize = 16 << 10;

/// Bytes of `fuse_dirent` without the name, and of `fuse_entry_out` before it.
const ENTRY: usize = 24;
const ATTRIBUTES: usize = 128;

/// An inode number that says nothing (FUSE_UNKNOWN_INO).
const UNKNOWN: u64 = 0xffff_ffff;

/// One entry, as the host has it.
struct Entry<'e> {
    name: &'e CStr,
    number: u64,
    kind: FileType,
    /// Where the next one is found.
    next: u64,
}

impl Server {
    /// Entries from `offset` on, `size` bytes at most: `fuse_dirent` each, or `fuse_direntplus`.
    pub(super) fn read_directory(
        &mut self,
        node: u64,
        handle: u64,
        (offset, size): (u64, u32),
        attributes: bool,
    ) -> Result<Reply, Errno> {
        let handle = self.handles.directory(handle)?;
        self.opened_in(node, &handle)?;
        let parent = self.directory(node)?;
        let size = usize::try_from(size).unwrap_or(MOST).min(MOST);
        // The guest's word, which may be any: the host finds nothing there, or something.
        seek(
            &handle.fd,
            SeekFrom::Start(offset.min(i64::MAX.cast_unsigned())),
        )?;
        let mut buffer = vec![MaybeUninit::uninit(); AT_ONCE.min(size.max(512))];
        let mut entries = RawDir::new(&handle.fd, &mut buffer);
        let mut answer = Answer::default();
        while let Some(found) = entries.next() {
            let found = found?;
            let entry = Entry {
                name: found.file_name(),
                number: self.show_number(parent.device, found.ino()),
                kind: found.file_type(),
                next: found.next_entry_cookie(),
            };
            let len = if attributes { ATTRIBUTES } else { 0 } + ENTRY + entry.name.count_bytes();
            if answer.0.len() + len.next_multiple_of(8) > size {
                break;
            }
            if attributes {
                answer = self.put_known(answer, &parent, &entry);
            }
            answer = put_entry(answer, &entry)?;
        }
        Ok(answer.into())
    }

    /// Adds what LOOKUP would say of an entry; nothing of one that is gone meanwhile, or is no entry.
    fn put_known(&mut self, mut answer: Answer, parent: &Arc<Inode>, entry: &Entry<'_>) -> Answer {
        let before = answer.0.len();
        if !is_dots(entry.name)
            && let Ok((inode, stat)) = self.find(parent, entry.name)
        {
            let known = self.put_entry(Answer::default(), inode, &stat);
            answer = answer.bytes(&known.unwrap_or_default().0);
        }
        answer.0.resize(before + ATTRIBUTES, 0);
        answer
    }
}

fn put_entry(answer: Answer, entry: &Entry<'_>) -> Result<Answer, Errno> {
    // What is above a share is nothing that the guest knows.
    let number = if is_dots(entry.name) {
        UNKNOWN
    } else {
        entry.number
    };
    let len = u32::try_from(entry.name.count_bytes()).map_err(|_| Errno::NAMETOOLONG)?;
    let answer = answer
        .u64(number)
        .u64(entry.next)
        .u32(len)
        .u32(entry.kind.as_raw_mode() >> 12)
        .bytes(entry.name.to_bytes());
    Ok(answer.align())
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
