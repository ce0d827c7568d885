//! The named parts of a source: files of a layout directory, or entries of an archive, which is
//! looked through once and then read where the parts are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::error::Fault;
use super::tar::{Kind, Reader, Seekable, TarError};

/// Longest JSON document that is read: ten times what registries accept.
const MAX_DOCUMENT: u64 = 40 << 20;

/// Most entries of an archive: a layer or a document each.
const MAX_PARTS: usize = 100_000;

/// Most links that lead from one part to the next.
const MAX_LINKS: usize = 8;

/// Where parts are read from.
#[derive(Debug)]
pub enum Parts {
    /// A directory.
    Directory(PathBuf),
    /// An archive and where its parts are.
    Archive(Archive),
}

/// An archive's file and index.
#[derive(Debug)]
pub struct Archive {
    file: File,
    index: BTreeMap<String, Place>,
}

#[derive(Debug, Clone)]
enum Place {
    At { start: u64, len: u64 },
    Link(String),
}

/// A run of bytes of a file; reading it moves no shared position.
#[derive(Debug)]
pub struct Section<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.end - self.at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.file.read_at(&mut buffer[..limit], self.at)?;
        self.at += count as u64;
        if count == 0 && limit > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

impl Parts {
    /// Looks through an archive.
    pub fn of_archive(file: File) -> Result<Self, Fault> {
        let bytes = Seekable::new(BufReader::new(file.try_clone().map_err(Fault::Unreadable)?));
        let mut reader = Reader::new(bytes.map_err(Fault::Unreadable)?);
        let mut index = BTreeMap::new();
        loop {
            let first = index.is_empty();
            let entry = reader.next_entry().map_err(|error| broken(error, first))?;
            let Some(entry) = entry else { break };
            let Some(name) = std::str::from_utf8(&entry.name).ok().map(clean) else {
                continue;
            };
            let place = match entry.kind {
                Kind::File => Place::At {
                    start: reader.position(),
                    len: entry.size,
                },
                Kind::Symlink => Place::Link(beside(&name, &String::from_utf8_lossy(&entry.link))),
                Kind::Link => Place::Link(clean(&String::from_utf8_lossy(&entry.link))),
                _ => continue,
            };
            index.insert(name, place);
            if index.len() > MAX_PARTS {
                return Err(Fault::Unknown);
            }
        }
        if index.is_empty() {
            Err(Fault::Unknown)
        } else {
            Ok(Self::Archive(Archive { file, index }))
        }
    }

    /// Opens a part; `None` when there is none of that name.
    pub fn open(&self, name: &str) -> Result<Option<Box<dyn Read + Send + '_>>, Fault> {
        match self {
            Self::Directory(folder) => match File::open(folder.join(name)) {
                Ok(file) => Ok(Some(Box::new(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Fault::Unreadable(error)),
            },
            Self::Archive(archive) => Ok(archive.open(name).map(|section| Box::new(section) as _)),
        }
    }

    /// A whole document.
    pub fn document(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        let Some(part) = self.open(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let count = part
            .take(MAX_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(Fault::Unreadable)?;
        if count as u64 == MAX_DOCUMENT {
            let why = "it is longer than any such document".to_owned();
            return Err(Fault::Malformed {
                what: name.to_owned(),
                why,
            });
        }
        Ok(Some(bytes))
    }
}

impl Archive {
    fn open(&self, name: &str) -> Option<Section<'_>> {
        let mut name = clean(name);
        for _ in 0..MAX_LINKS {
            match self.index.get(&name)? {
                Place::At { start, len } => {
                    return Some(Section {
                        file: &self.file,
                        at: *start,
                        end: start + len,
                    });
                }
                Place::Link(target) => name = target.clone(),
            }
        }
        None
    }
}

/// An archive that is broken from its first header on is none.
fn broken(error: TarError, first: bool) -> Fault {
    match error {
        TarError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Fault::Truncated("its last entry is not whole".to_owned())
        }
        TarError::Io(error) => Fault::Unreadable(error),
        TarError::Malformed(_) if first => Fault::Unknown,
        TarError::Malformed(why) => Fault::Malformed {
            what: "the archive".to_owned(),
            why: why.to_owned(),
        },
    }
}

/// A name without `.` components and doubled slashes, `..` resolved inside the archive.
fn clean(name: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in name.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            other => components.push(other),
        }
    }
    components.join("/")
}

/// The target of a link beside `name`.
fn beside(name: &str, target: &str) -> String {
    match name.rsplit_once('/') {
        Some((folder, _)) => clean(&format!("{folder}/{target}")),
        None => clean(target),
    }
}
