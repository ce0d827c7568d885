//! Where images come from, as people write it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use super::error::{Error, Fault};
use super::parts::Parts;

/// Something to load images from.
pub enum Source {
    /// An archive that comes as a stream, compressed or not.
    Stream(Box<dyn Read + Send>),
    /// An archive, or a layout directory.
    Path(PathBuf),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Source {
    /// From a path as typed.
    pub fn of_path(path: PathBuf) -> Self {
        Self::Path(path)
    }

    /// `oci:DIR`, `oci-archive:FILE` and `docker-archive:FILE`; `None` when `text` names no
    /// transport that husk knows. A tag behind the path, as skopeo has it, is not part of it.
    pub fn of_transport(text: &str) -> Result<Option<Self>, Error> {
        let Some((transport, path)) = text.split_once(':') else {
            return Ok(None);
        };
        if !matches!(transport, "oci" | "oci-archive" | "docker-archive") {
            return Ok(None);
        }
        let whole = PathBuf::from(path);
        let tagless = path.split_once(':').map(|(path, _)| PathBuf::from(path));
        let path = match tagless {
            Some(shorter) if !whole.exists() && shorter.exists() => shorter,
            _ => whole,
        };
        Ok(Some(Self::Path(path)))
    }

    /// The name to blame.
    pub fn name(&self) -> String {
        match self {
            Self::Stream(_) => "stdin".to_owned(),
            Self::Path(path) => path.display().to_string(),
        }
    }

    /// Its parts. A stream is copied to `scratch` first: what a layer is stands behind it.
    pub fn open(self, scratch: &Path) -> Result<Parts, Fault> {
        match self {
            Self::Path(path) => {
                if fs::metadata(&path).map_err(Fault::Unreadable)?.is_dir() {
                    return Ok(Parts::Directory(path));
                }
                let file = File::open(&path).map_err(Fault::Unreadable)?;
                if is_compressed(&file).map_err(Fault::Unreadable)? {
                    return spool(file, scratch);
                }
                Parts::of_archive(file)
            }
            Self::Stream(stream) => spool(stream, scratch),
        }
    }
}

/// Whether a whole archive is compressed, as `docker save | gzip` makes it: a tar begins with a
/// name, and neither magic is one.
fn is_compressed(file: &File) -> io::Result<bool> {
    let mut head = [0; 4];
    let mut file = file;
    let count = file.take(4).read(&mut head)?;
    file.rewind()?;
    let head = &head[..count];
    Ok(head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]))
}

fn spool(from: impl Read + Send, scratch: &Path) -> Result<Parts, Fault> {
    let path = scratch.join("archive");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(Fault::Store)?;
    let mut plain = super::compress::decompress(from).map_err(Fault::Unreadable)?;
    copy(&mut plain, &mut file)?;
    Parts::of_archive(file)
}

/// Copies, telling a source that fails from a store that is full.
fn copy(from: &mut dyn Read, to: &mut File) -> Result<(), Fault> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Fault::Truncated(
                    "its compressed bytes end too early".to_owned(),
                ));
            }
            Err(error) => return Err(Fault::Unreadable(error)),
        };
        io::Write::write_all(to, &buffer[..count]).map_err(Fault::Store)?;
    }
}
