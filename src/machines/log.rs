//! The output of a machine that runs in the background.
//!
//! ```text
//!  "hl" | stream, 0 | length: u32 | time: u64 |   bytes   | length: u32 |
//!    2       1+1          4            8          length         4
//! ```
//!
//! Pieces are as large as the workload's writes let them be, numbers are little-endian, and the length stands
//! at both ends, so that `--tail` begins at the end. A writer that was killed leaves a torn last piece, which
//! readers do not see and the next writer cuts off.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::fs::OFlags;

use super::folder::{Folder, LOG};
use super::growth::Growth;
use crate::spec::time::{self, Nanoseconds};
use crate::sys::lock::lock;

const MAGIC: [u8; 2] = *b"hl";
const HEADER: usize = 16;
const TRAILER: usize = 4;

/// Most bytes of a piece.
const MOST: usize = 256 << 10;

/// Bytes that a reader takes at once.
const WINDOW: usize = 2 << 20;

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// stdout.
    Stdout,
    /// stderr.
    Stderr,
}

/// Some bytes that a workload said at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Where.
    pub stream: Stream,
    /// When.
    pub time: Nanoseconds,
    /// What.
    pub bytes: &'a [u8],
}

/// A log that is written.
#[derive(Debug, Clone)]
pub struct Log(Arc<Mutex<End>>);

/// The end of a log.
#[derive(Debug)]
struct End {
    file: File,
    length: u64,
    /// Bytes that the disk did not take.
    lost: u64,
}

impl Log {
    /// Opens the log in `folder` to add to it; only who holds the lock does.
    pub fn append(folder: &Folder) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::APPEND;
        let file = folder.file(LOG, flags)?;
        let length = valid_length(&file)?;
        file.set_len(length)?;
        let lost = 0;
        Ok(Self(Arc::new(Mutex::new(End { file, length, lost }))))
    }

    /// Writes what comes from `from`, on a thread of its own, until its other ends are closed.
    pub fn follow(
        &self,
        stream: Stream,
        mut from: impl Read + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let log = self.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                let mut buffer = vec![0; MOST];
                loop {
                    match from.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => log.write(stream, &buffer[..count]),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(_) => break,
                    }
                }
            })
    }

    /// Adds a piece. What the disk does not take is counted, and the workload goes on.
    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        for bytes in bytes.chunks(MOST) {
            lock(&self.0).write(stream, bytes);
        }
    }

    /// Bytes that the disk did not take.
    pub fn lost(&self) -> u64 {
        lock(&self.0).lost
    }
}

impl End {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut header = [0; HEADER];
        header[..2].copy_from_slice(&MAGIC);
        header[2] = match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        header[4..8].copy_from_slice(&length);
        header[8..].copy_from_slice(&time::now().to_le_bytes());
        let parts = [&header[..], bytes, &length];
        match write_all(&mut self.file, parts) {
            Ok(()) => self.length += (HEADER + bytes.len() + TRAILER) as u64,
            Err(_) => {
                self.lost += bytes.len() as u64;
                // Where this fails, readers stop here, and the next writer tries again.
                let _torn = self.file.set_len(self.length);
            }
        }
    }
}

/// All parts by one call, where the kernel takes them.
fn write_all(file: &mut File, parts: [&[u8]; 3]) -> io::Result<()> {
    let mut slices = parts.map(IoSlice::new);
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut rest, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A place in a log that is read.
#[derive(Debug)]
pub struct Cursor {
    file: File,
    at: u64,
    window: Vec<u8>,
    /// Where in the file the window begins, and how much of it is filled.
    window_at: u64,
    filled: usize,
    /// Bytes of the next piece that are passed over.
    skip: usize,
}

impl Cursor {
    /// The beginning of the log in `folder`; `None` where there is none.
    pub fn open(folder: &Folder) -> io::Result<Option<Self>> {
        match folder.file(LOG, OFlags::RDONLY) {
            Ok(file) => Ok(Some(Self::of(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What says that the log in `folder`, which is there, has grown.
    pub fn watch(folder: &Folder) -> io::Result<Growth> {
        Growth::of(folder, LOG)
    }

    fn of(file: File) -> Self {
        Self {
            file,
            at: 0,
            window: Vec::new(),
            window_at: 0,
            filled: 0,
            skip: 0,
        }
    }

    /// The next piece; `None` at the end, which may move.
    pub fn advance(&mut self) -> io::Result<Option<Piece<'_>>> {
        if !self.has(HEADER)? {
            return Ok(None);
        }
        let begin = self.begin();
        let Some(header) = Header::parse(&self.window[begin..]) else {
            return Err(damaged());
        };
        if !self.has(header.whole())? {
            return Ok(None);
        }
        let begin = self.begin() + HEADER;
        self.at += header.whole() as u64;
        let bytes = &self.window[begin..begin + header.length];
        let skip = mem::take(&mut self.skip).min(bytes.len());
        Ok(Some(Piece {
            stream: header.stream,
            time: header.time,
            bytes: &bytes[skip..],
        }))
    }

    /// Goes to where the last `lines` lines begin.
    pub fn tail(&mut self, lines: u64) -> io::Result<()> {
        let mut at = valid_length(&self.file)?;
        (self.at, self.skip) = (at, 0);
        let mut left = lines;
        let mut is_last = true;
        let mut bytes = Vec::new();
        while at > 0 && lines > 0 {
            let (begin, header) = before(&self.file, at)?.ok_or_else(damaged)?;
            bytes.resize(header.length, 0);
            self.file.read_exact_at(&mut bytes, begin + HEADER as u64)?;
            // The newline at the very end ends the last line, and begins none.
            let searched = if is_last {
                bytes.len().saturating_sub(1)
            } else {
                bytes.len()
            };
            is_last = false;
            for newline in (0..searched).rev().filter(|at| bytes[*at] == b'\n') {
                left -= 1;
                if left == 0 {
                    (self.at, self.skip) = (begin, newline + 1);
                    return Ok(());
                }
            }
            at = begin;
            self.at = at;
        }
        Ok(())
    }

    fn begin(&self) -> usize {
        usize::try_from(self.at - self.window_at).unwrap_or(usize::MAX)
    }

    /// Whether the file has `count` bytes from here; they are in the window then.
    fn has(&mut self, count: usize) -> io::Result<bool> {
        let holds = |cursor: &Self| {
            cursor.at >= cursor.window_at
                && cursor.at - cursor.window_at + count as u64 <= cursor.filled as u64
        };
        if holds(self) {
            return Ok(true);
        }
        self.window.resize(WINDOW, 0);
        (self.window_at, self.filled) = (self.at, 0);
        while self.filled < count {
            let place = self.at + self.filled as u64;
            match self.file.read_at(&mut self.window[self.filled..], place) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(holds(self))
    }
}

/// What stands before a piece.
#[derive(Debug, Clone, Copy)]
struct Header {
    stream: Stream,
    time: Nanoseconds,
    length: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let stream = match header[2] {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return None,
        };
        let length = u32::from_le_bytes(*header[4..].first_chunk()?);
        let length = usize::try_from(length).ok()?;
        let legal = header[..2] == MAGIC && header[3] == 0 && length <= MOST;
        legal.then_some(Self {
            stream,
            time: Nanoseconds::from_le_bytes(*header[8..].first_chunk()?),
            length,
        })
    }

    /// Bytes of the piece and what is around it.
    fn whole(self) -> usize {
        HEADER + self.length + TRAILER
    }
}

/// The piece that ends at `end`, and where it begins; `None` where none does.
fn before(file: &File, end: u64) -> io::Result<Option<(u64, Header)>> {
    let mut trailer = [0; TRAILER];
    let Some(at) = end.checked_sub(TRAILER as u64) else {
        return Ok(None);
    };
    file.read_exact_at(&mut trailer, at)?;
    let length = u32::from_le_bytes(trailer);
    let Some(begin) = at.checked_sub(u64::from(length) + HEADER as u64) else {
        return Ok(None);
    };
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, begin)?;
    let header = Header::parse(&header).filter(|header| header.length == length as usize);
    Ok(header.map(|header| (begin, header)))
}

/// Where the last whole piece ends.
fn valid_length(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length == 0 || before(file, length)?.is_some() {
        return Ok(length);
    }
    let mut cursor = Cursor::of(file.try_clone()?);
    // A piece that is no piece ends it, too.
    while let Ok(Some(_)) = cursor.advance() {}
    Ok(cursor.at)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the log is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (File, Log) {
        let file = tempfile::tempfile().unwrap();
        let end = End {
            file: file.try_clone().unwrap(),
            length: 0,
            lost: 0,
        };
        (file, Log(Arc::new(Mutex::new(end))))
    }

    fn read(cursor: &mut Cursor) -> Vec<(Stream, String)> {
        let mut found = Vec::new();
        while let Some(piece) = cursor.advance().unwrap() {
            found.push((
                piece.stream,
                String::from_utf8(piece.bytes.to_vec()).unwrap(),
            ));
        }
        found
    }

    #[test]
    fn what_was_said_is_read_in_its_order_and_apart() {
        let (file, log) = log();
        let begun = time::now();
        log.write(Stream::Stdout, b"one\n");
        log.write(Stream::Stderr, b"two\n");
        let mut cursor = Cursor::of(file);
        let first = cursor.advance().unwrap().unwrap();
        assert!(first.time >= begun && first.time <= time::now());
        assert_eq!(read(&mut cursor), [(Stream::Stderr, "two\n".to_owned())]);
        // The end moves.
        log.write(Stream::Stdout, &vec![b'x'; MOST + 1]);
        let more: Vec<_> = read(&mut cursor)
            .iter()
            .map(|(_, text)| text.len())
            .collect();
        assert_eq!(more, [MOST, 1]);
    }

    #[test]
    fn a_torn_end_is_not_read_and_is_cut_off() {
        for keep in 1..20 + 8 {
            let (file, log) = log();
            log.write(Stream::Stdout, b"whole\n");
            let whole = file.metadata().unwrap().len();
            log.write(Stream::Stderr, b"torn now");
            file.set_len(whole + keep).unwrap();
            assert_eq!(read(&mut Cursor::of(file.try_clone().unwrap())).len(), 1);
            assert_eq!(valid_length(&file).unwrap(), whole, "{keep}");
            let mut cursor = Cursor::of(file);
            cursor.tail(1).unwrap();
            assert_eq!(read(&mut cursor), [(Stream::Stdout, "whole\n".to_owned())]);
        }
    }

    #[test]
    fn the_last_lines_begin_within_pieces() {
        let (file, log) = log();
        for text in ["a\nb", "b\n", "c\nd\n", "e"] {
            log.write(Stream::Stdout, text.as_bytes());
        }
        let table = [
            (0, ""),
            (1, "e"),
            (2, "d\ne"),
            (3, "c\nd\ne"),
            (4, "bb\nc\nd\ne"),
            (5, "a\nbb\nc\nd\ne"),
            (9, "a\nbb\nc\nd\ne"),
        ];
        for (lines, expected) in table {
            let mut cursor = Cursor::of(file.try_clone().unwrap());
            cursor.tail(lines).unwrap();
            let text: String = read(&mut cursor)
                .into_iter()
                .map(|(_, text)| text)
                .collect();
            assert_eq!(text, expected, "{lines}");
        }
    }

    #[test]
    fn what_is_no_log_is_an_error_and_no_loop() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0xff; 100]).unwrap();
        assert!(Cursor::of(file.try_clone().unwrap()).advance().is_err());
        assert_eq!(valid_length(&file).unwrap(), 0);
    }

    proptest::proptest! {
        #[test]
        fn no_file_stops_a_reader(bytes in proptest::collection::vec(0u8..4, 0..200), lines in 0u64..5) {
            let mut file = tempfile::tempfile().unwrap();
            let text: Vec<u8> = bytes.iter().map(|b| [b'h', b'l', 1, 0][usize::from(*b)]).collect();
            file.write_all(&text).unwrap();
            let mut cursor = Cursor::of(file);
            let _refused = cursor.tail(lines);
            while let Ok(Some(_)) = cursor.advance() {}
        }
    }
}
