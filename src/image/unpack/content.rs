//! File contents, from a layer's blob to a file of their own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{SeekFrom, copy_file_range, ftruncate, seek};
use rustix::io::{Errno, pwrite};

/// Smallest file whose holes are looked for.
const SPARSE_FROM: u64 = 64 << 10;

/// Most bytes copied by one call.
const CHUNK: u64 = 1 << 30;

/// Bytes copied at once where the kernel does not copy.
const BUFFER: u64 = 64 << 10;

/// Why a kernel would not copy between these two files: then they are read and written.
const NO_COPY: [Errno; 6] = [
    Errno::XDEV,
    Errno::INVAL,
    Errno::OPNOTSUPP,
    Errno::NOSYS,
    Errno::PERM,
    Errno::BADF,
];

/// The blobs of an image. The last one used is open: files of a directory mostly share theirs, and
/// an image may have more layers than a process descriptors.
#[derive(Debug)]
pub struct Blobs<'a> {
    paths: &'a [PathBuf],
    open: Option<(usize, File)>,
}

impl<'a> Blobs<'a> {
    /// Of these files; blob `n` is `paths[n - 1]`.
    pub fn new(paths: &'a [PathBuf]) -> Self {
        Self { paths, open: None }
    }

    /// Copies `size` bytes at `offset` of blob `number` to the empty file `to`.
    pub fn copy(&mut self, number: usize, offset: u64, size: u64, to: &OwnedFd) -> io::Result<()> {
        if size == 0 {
            return Ok(());
        }
        let blob = match self.open.take() {
            Some((open, blob)) if open == number => blob,
            _ => File::open(&self.paths[number - 1])?,
        };
        let copied = copy(&blob, offset, size, to);
        self.open = Some((number, blob));
        copied
    }
}

fn copy(blob: &File, offset: u64, size: u64, to: &OwnedFd) -> io::Result<()> {
    let end = offset.checked_add(size).ok_or(io::ErrorKind::InvalidData)?;
    let mut at = offset;
    while at < end {
        let (data, hole) = if size < SPARSE_FROM {
            (at, end)
        } else {
            next_data(blob, at, end)?
        };
        copy_piece(blob, data, hole - data, to, data - offset)?;
        if data == end {
            // It ends with a hole, which nothing was written behind.
            ftruncate(to, size)?;
        }
        at = hole;
    }
    Ok(())
}

/// Where the first data at or behind `at` begins and ends; both are `end` if there is none.
fn next_data(blob: &File, at: u64, end: u64) -> io::Result<(u64, u64)> {
    let data = match seek(blob, SeekFrom::Data(at)) {
        Ok(data) if data < end => data,
        Ok(_) | Err(Errno::NXIO) => return Ok((end, end)),
        Err(errno) => return Err(errno.into()),
    };
    Ok((data, seek(blob, SeekFrom::Hole(data))?.min(end)))
}

fn copy_piece(blob: &File, from: u64, len: u64, to: &OwnedFd, at: u64) -> io::Result<()> {
    let (mut from, mut at, mut left) = (from, at, len);
    while left > 0 {
        let count = usize::try_from(left.min(CHUNK)).unwrap_or(usize::MAX);
        match copy_file_range(blob, Some(&mut from), to, Some(&mut at), count) {
            Err(Errno::INTR) => {}
            Err(errno) if !NO_COPY.contains(&errno) => return Err(errno.into()),
            // Nothing copied may be an end of the blob: reading will tell.
            Ok(0) | Err(_) => return copy_by_hand(blob, from, left, to, at),
            Ok(count) => left -= count as u64,
        }
    }
    Ok(())
}

fn copy_by_hand(blob: &File, from: u64, len: u64, to: impl AsFd, at: u64) -> io::Result<()> {
    let capacity = usize::try_from(len.min(BUFFER)).unwrap_or(usize::MAX);
    let mut buffer = vec![0; capacity];
    let mut done = 0;
    while done < len {
        let limit = usize::try_from(len - done)
            .unwrap_or(capacity)
            .min(capacity);
        blob.read_exact_at(&mut buffer[..limit], from + done)?;
        let mut rest = &buffer[..limit];
        while !rest.is_empty() {
            match pwrite(&to, rest, at + done) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = &rest[count..];
                    done += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn blob() -> File {
        let blob = tempfile::tempfile().unwrap();
        blob.write_all_at(b"first", 0).unwrap();
        blob.write_all_at(b"middle", 4096 + (1 << 20)).unwrap();
        blob.set_len(4096 + (3 << 20)).unwrap();
        blob
    }

    #[test]
    fn contents_are_copied_and_holes_stay_holes() {
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        copy(&blob(), 4096, 2 << 20, &file).unwrap();
        let file = File::from(file);
        assert_eq!(file.metadata().unwrap().len(), 2 << 20);
        assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20);
        let mut middle = [0; 6];
        file.read_exact_at(&mut middle, 1 << 20).unwrap();
        assert_eq!(&middle, b"middle");
    }

    #[test]
    fn what_the_kernel_does_not_copy_is_read_and_written() {
        let file = tempfile::tempfile().unwrap();
        copy_by_hand(&blob(), 4096, (1 << 20) + 6, &file, 0).unwrap();
        let mut middle = [0; 6];
        file.read_exact_at(&mut middle, 1 << 20).unwrap();
        assert_eq!(&middle, b"middle");
    }

    #[test]
    fn a_blob_that_ends_too_early_is_an_error() {
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        let error = copy(&blob(), 4096 + (3 << 20), 10, &file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
