//! A guest that speaks FUSE, with a folder of the host's and things beside it that it must not reach.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};
use tempfile::TempDir;

use super::driver::{BUFFERS, Buffer, Driver, readable, writable};
use crate::devices::virtio::fs::{Fs, Owners, Share, op};
use crate::devices::virtio::registers as reg;

/// Where requests go, and answers come.
const ASK: u64 = BUFFERS;
const ANSWER: u64 = BUFFERS + 0x10_0000;
/// Bytes for an answer.
const ROOM: u32 = 0x2_0000;

/// The queue of requests.
pub const REQUESTS: usize = 1;

/// What lies outside of every share, and must stay as it is.
pub const SECRET: &str = "the host's own";

/// A guest with shares 0, `share/`, and 1, the same read-only, and 2, one file.
pub struct Guest {
    pub driver: Driver,
    pub folder: TempDir,
    unique: u64,
}

/// What an entry's answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub node: u64,
    pub mode: u32,
    pub uid: u32,
    pub size: u64,
}

impl Guest {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("share/dir/deep")).unwrap();
        fs::write(at("share/file"), "content").unwrap();
        fs::write(at("share/dir/inner"), "inner").unwrap();
        fs::create_dir(at("outside")).unwrap();
        fs::write(at("outside/secret"), SECRET).unwrap();
        symlink("../outside", at("share/up")).unwrap();
        symlink(at("outside/secret"), at("share/absolute")).unwrap();
        fs::write(at("lonely"), "one file").unwrap();
        let open = |name: &str| openat(CWD, at(name), OFlags::PATH, Mode::empty()).unwrap();
        let owners = Owners::new(0, 0);
        let shares = [("share", false), ("share", true), ("lonely", false)];
        let shares = (0..).zip(shares).map(|(number, (name, read_only))| {
            Share::new(number, open(name), read_only, owners).unwrap()
        });
        let device = Fs::new(shares.collect(), 1000).unwrap();
        let mut guest = Self {
            driver: Driver::ready(device),
            folder,
            unique: 0,
        };
        guest.begin();
        guest
    }

    /// INIT, as Linux 6.12 says it.
    pub fn begin(&mut self) {
        let words = [7u32, 40, 1 << 20, u32::MAX].map(u32::to_le_bytes).concat();
        let answer = self.ask(op::INIT, 0, &words).unwrap();
        assert_eq!((answer.len(), &answer[..4]), (64, &7u32.to_le_bytes()[..]));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sends one request and waits for its answer: what follows the header, or the errno.
    pub fn ask(&mut self, opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
        self.ask_as(0, opcode, node, body)
    }

    /// The same as a user of the guest.
    pub fn ask_as(&mut self, id: u32, opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
        self.unique += 1;
        let len = u32::try_from(40 + body.len()).unwrap();
        let mut request = Vec::new();
        request.extend(len.to_le_bytes());
        request.extend(opcode.to_le_bytes());
        request.extend(self.unique.to_le_bytes());
        request.extend(node.to_le_bytes());
        request.extend([id, id, 1, 0].map(u32::to_le_bytes).concat());
        request.extend(body);
        self.driver.put(ASK, &request);
        self.send(&[readable(ASK, len), writable(ANSWER, ROOM)]);
        let head = self.driver.get(ANSWER, 16);
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        assert_eq!(head[8..], self.unique.to_le_bytes());
        let body = usize::try_from(word(0)).unwrap() - 16;
        match word(4).cast_signed() {
            0 => Ok(self.driver.get(ANSWER + 16, body)),
            errno => Err(-errno),
        }
    }

    /// Sends a chain, and waits until it is back or the device needs a reset.
    pub fn send(&mut self, chain: &[Buffer]) {
        self.driver.offer(REQUESTS, 0, chain);
        self.driver.notify(REQUESTS);
        assert!(self.settles(), "a device that answers");
    }

    fn settles(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            self.driver.transport.poll();
            if !self.driver.used(REQUESTS).is_empty() || self.needs_reset() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    pub fn needs_reset(&mut self) -> bool {
        self.driver.read(reg::STATUS) & reg::NEEDS_RESET != 0
    }

    pub fn look_up(&mut self, node: u64, name: &str) -> Result<Entry, i32> {
        self.ask(op::LOOKUP, node, &string(name))
            .map(|answer| entry(&answer))
    }

    /// The node of a share.
    pub fn share(&mut self, number: u32) -> u64 {
        self.look_up(1, &number.to_string()).unwrap().node
    }

    /// Opens, and gives the handle.
    pub fn open(&mut self, node: u64, flags: i32) -> Result<u64, i32> {
        let body = [flags.cast_unsigned(), 0].map(u32::to_le_bytes).concat();
        let answer = self.ask(op::OPEN, node, &body)?;
        Ok(u64::from_le_bytes(answer[..8].try_into().unwrap()))
    }

    /// CREATE: the entry and the handle.
    pub fn create(
        &mut self,
        id: u32,
        node: u64,
        name: &str,
        flags: i32,
    ) -> Result<(Entry, u64), i32> {
        let words = [flags.cast_unsigned(), 0o100_644, 0o022, 0];
        let body = [words.map(u32::to_le_bytes).concat(), string(name)].concat();
        let answer = self.ask_as(id, op::CREATE, node, &body)?;
        let handle = u64::from_le_bytes(answer[128..136].try_into().unwrap());
        Ok((entry(&answer), handle))
    }

    pub fn read(&mut self, handle: u64, offset: u64, size: u32) -> Result<Vec<u8>, i32> {
        self.ask(op::READ, 0, &content(handle, offset, size))
    }

    pub fn write(&mut self, handle: u64, offset: u64, bytes: &[u8]) -> Result<u32, i32> {
        let size = u32::try_from(bytes.len()).unwrap();
        let body = [content(handle, offset, size), bytes.to_vec()].concat();
        let answer = self.ask(op::WRITE, 0, &body)?;
        Ok(u32::from_le_bytes(answer[..4].try_into().unwrap()))
    }

    /// Whether what lies outside of the shares is as it was.
    pub fn kept_in(&self) -> bool {
        let names = |path: &str| fs::read_dir(self.path(path)).unwrap().count();
        fs::read_to_string(self.path("outside/secret")).unwrap() == SECRET
            && (names("outside"), names(".")) == (1, 3)
    }
}

pub fn string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// `fuse_read_in` and `fuse_write_in`.
pub fn content(handle: u64, offset: u64, size: u32) -> Vec<u8> {
    let mut body = [handle, offset].map(u64::to_le_bytes).concat();
    body.extend(size.to_le_bytes());
    body.resize(40, 0);
    body
}

/// `fuse_entry_out`.
pub fn entry(answer: &[u8]) -> Entry {
    let word = |at: usize| u32::from_le_bytes(answer[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_le_bytes(answer[at..at + 8].try_into().unwrap());
    Entry {
        node: long(0),
        size: long(48),
        mode: word(40 + 60),
        uid: word(40 + 68),
    }
}

/// Names of a directory by READDIR.
pub fn names(mut answer: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while answer.len() >= 24 {
        let len = usize::try_from(u32::from_le_bytes(answer[16..20].try_into().unwrap())).unwrap();
        found.push(String::from_utf8(answer[24..24 + len].to_vec()).unwrap());
        answer = &answer[(24 + len).next_multiple_of(8)..];
    }
    found.sort();
    found
}

/// A file of the host beside the share, for a test that swaps things.
pub fn touch(path: PathBuf) {
    File::create(path).unwrap();
}
