//! Random operations on one file, beside a model of it in memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sys::memory::Mapping;

/// Most bytes of the file, and of one operation.
const LONGEST: usize = 200_000;
const STRETCH: usize = 40_000;

/// Numbers that look random (xorshift, 64 bits).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.0 % limit).unwrap_or(0)
    }
}

/// The file, and what it should be.
struct Twins {
    path: PathBuf,
    file: File,
    model: Vec<u8>,
    random: Random,
}

/// Does `steps` operations in `folder`; an error names the first after which the two differ.
pub fn compare(folder: &Path, seed: u64, steps: u64) -> Result<(), String> {
    let path = folder.join("file");
    let file = open(&path).map_err(|error| format!("cannot make a file: {error}"))?;
    let mut twins = Twins {
        path,
        file,
        model: Vec::new(),
        random: Random(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15)),
    };
    for step in 0..steps {
        let (name, done) = twins.step();
        let checked = done.and_then(|()| twins.check());
        checked.map_err(|error| format!("seed {seed}, step {step}, {name}: {error}"))?;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

impl Twins {
    /// One operation on both.
    fn step(&mut self) -> (&'static str, io::Result<()>) {
        match self.random.below(9) {
            0 | 1 => ("write", self.write()),
            2 => ("append", self.append()),
            3 => ("truncate", self.truncate()),
            4 | 5 => ("read", self.read()),
            6 => ("write by a mapping", self.write_mapped()),
            7 => ("read by a mapping", self.read_mapped()),
            _ if self.random.below(2) == 0 => ("fsync", self.file.sync_all()),
            _ => ("open again", self.reopen()),
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = 1 + self.random.below(STRETCH);
        let first = self.random.below(251);
        let bytes = (first..first + len).map(|value| u8::try_from(value % 251).unwrap_or(0));
        bytes.collect()
    }

    fn write(&mut self) -> io::Result<()> {
        let bytes = self.bytes();
        let offset = self.random.below(LONGEST - bytes.len());
        self.file.write_all_at(&bytes, offset as u64)?;
        if self.model.len() < offset + bytes.len() {
            self.model.resize(offset + bytes.len(), 0);
        }
        self.model[offset..offset + bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        let bytes = self.bytes();
        if self.model.len() + bytes.len() > LONGEST {
            return Ok(());
        }
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        file.write_all(&bytes)?;
        self.model.extend(bytes);
        Ok(())
    }

    fn truncate(&mut self) -> io::Result<()> {
        let len = self.random.below(LONGEST);
        self.file.set_len(len as u64)?;
        self.model.resize(len, 0);
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let from = self.random.below(self.model.len());
        let len = self.random.below(STRETCH).min(self.model.len() - from);
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, from as u64)?;
        same(&bytes, &self.model[from..from + len])
    }

    fn write_mapped(&mut self) -> io::Result<()> {
        if self.model.is_empty() {
            return Ok(());
        }
        let bytes = self.bytes();
        let at = self.random.below(self.model.len());
        let len = bytes.len().min(self.model.len() - at);
        let mut mapping = Mapping::of(&self.file, self.model.len())?;
        mapping.bytes()[at..at + len].copy_from_slice(&bytes[..len]);
        self.model[at..at + len].copy_from_slice(&bytes[..len]);
        Ok(())
    }

    fn read_mapped(&mut self) -> io::Result<()> {
        if self.model.is_empty() {
            return Ok(());
        }
        let mut mapping = Mapping::of(&self.file, self.model.len())?;
        same(mapping.bytes(), &self.model)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        let mut whole = vec![0; self.model.len()];
        self.file.read_exact_at(&mut whole, 0)?;
        same(&whole, &self.model)
    }

    /// Whether both have the same length.
    fn check(&self) -> io::Result<()> {
        let (len, wanted) = (self.file.metadata()?.len(), self.model.len() as u64);
        if len == wanted {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "it has {len} bytes instead of {wanted}"
        )))
    }
}

fn same(found: &[u8], wanted: &[u8]) -> io::Result<()> {
    let differ = found.iter().zip(wanted).position(|(a, b)| a != b);
    match differ {
        None if found.len() == wanted.len() => Ok(()),
        at => Err(io::Error::other(format!(
            "it differs at byte {} of {}",
            at.unwrap_or(wanted.len()),
            wanted.len()
        ))),
    }
}
