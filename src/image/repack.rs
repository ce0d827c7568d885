//! Anybody's archive in the one form that a machine's archiver reads ([`husk_init::archive`]): gzip, zstd or
//! plain; ustar, pax or GNU; sparse files with all their zeros.

use std::io::{self, Read, Write};

use husk_init::archive::tar::Writer;
use husk_init::archive::{self, Error};

use super::compress::decompress;
use super::tar::{Entry, Kind, Reader, Sequential, TarError};

/// Writes every entry of `from` to `to`, without ending it. Memory does not grow with the archive.
pub fn repack<W: Write>(from: impl Read + Send, to: &mut Writer<W>) -> Result<(), Error> {
    let plain = decompress(from)?;
    let mut reader = Reader::new(Sequential(plain));
    while let Some(entry) = reader.next_entry().map_err(broken)? {
        let Some(translated) = translate(&entry)? else {
            continue;
        };
        match &entry.sparse {
            None => to.copy(&translated, &mut reader)?,
            Some(extents) => {
                to.begin(&translated)?;
                let mut at = 0;
                for extent in extents {
                    zeros(to, extent.offset - at)?;
                    copy(&mut reader, extent.len, to)?;
                    at = extent.offset + extent.len;
                }
                to.fill()?;
            }
        }
    }
    Ok(())
}

fn zeros<W: Write>(to: &mut Writer<W>, count: u64) -> Result<(), Error> {
    copy(&mut io::repeat(0), count, to)
}

fn copy<W: Write>(from: &mut impl Read, mut left: u64, to: &mut Writer<W>) -> Result<(), Error> {
    let mut buffer = vec![0; archive::CHUNK];
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        match from.read(&mut buffer[..most])? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => {
                to.data(&buffer[..count])?;
                left -= count as u64;
            }
        }
    }
    Ok(())
}

/// What an entry is to the archiver; `None` of what is no file of any kind.
fn translate(entry: &Entry) -> Result<Option<archive::Entry>, Error> {
    let kind = match entry.kind {
        Kind::File => archive::Kind::File,
        Kind::Link => archive::Kind::Link,
        Kind::Symlink => archive::Kind::Symlink,
        Kind::CharDevice => archive::Kind::CharDevice,
        Kind::BlockDevice => archive::Kind::BlockDevice,
        Kind::Directory => archive::Kind::Directory,
        Kind::Fifo => archive::Kind::Fifo,
        Kind::Other(_) => return Ok(None),
    };
    let owner = |id: u64| {
        u32::try_from(id).map_err(|_| Error::Malformed("an owner that Linux does not have"))
    };
    let mut name = entry.name.clone();
    while name.ends_with(b"/") {
        name.pop();
    }
    Ok(Some(archive::Entry {
        name,
        kind,
        link: entry.link.clone(),
        mode: entry.mode.into(),
        uid: owner(entry.uid)?,
        gid: owner(entry.gid)?,
        size: match kind {
            archive::Kind::File => entry.size,
            _ => 0,
        },
        mtime: entry.mtime.0,
        device: (entry.device.major, entry.device.minor),
        xattrs: entry.xattrs.clone(),
    }))
}

fn broken(error: TarError) -> Error {
    match error {
        TarError::Io(error) => Error::Stream(error),
        TarError::Malformed(why) => Error::Malformed(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, symlink};
    use std::process::Command;

    /// What GNU tar makes of a folder, in each of its formats.
    #[test]
    fn archives_of_gnu_tar_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let sparse = File::create(at("sparse")).unwrap();
        sparse.set_len(1 << 20).unwrap();
        sparse.write_all_at(b"data", 500_000).unwrap();
        fs::write(at(&"n".repeat(200)), "long").unwrap();
        symlink("t".repeat(150), at("link")).unwrap();
        fs::hard_link(at("sparse"), at("zhard")).unwrap();
        for format in ["gnu", "pax", "posix"] {
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(folder.path());
            tar.args(["-c", "-z", "-S", "--format", format, "--sort=name", "."]);
            let made = tar.output().unwrap();
            assert!(made.status.success());
            let mut to = Writer::new(Vec::new());
            repack(&made.stdout[..], &mut to).unwrap();
            let bytes = to.finish().unwrap();
            let mut reader = archive::tar::Reader::new(&bytes[..]);
            let mut seen = Vec::new();
            while let Some(entry) = reader.next_entry().unwrap() {
                let mut data = Vec::new();
                reader.read_to_end(&mut data).unwrap();
                if entry.name == b"./sparse" {
                    assert_eq!(data, fs::read(at("sparse")).unwrap(), "{format}");
                }
                seen.push((entry.kind, entry.name.len(), entry.link.len(), entry.size));
            }
            use archive::Kind::{Directory, File, Link, Symlink};
            let expected = [
                (Directory, 1, 0, 0),
                (Symlink, 6, 150, 0),
                (File, 202, 0, 4),
                (File, 8, 0, 1 << 20),
                (Link, 7, 8, 0),
            ];
            assert_eq!(seen, expected, "{format}");
        }
    }

    #[test]
    fn what_is_no_archive_is_an_error() {
        let mut to = Writer::new(Vec::new());
        let text = b"no archive at all, ".repeat(100);
        assert!(matches!(
            repack(&text[..], &mut to),
            Err(Error::Malformed(_))
        ));
    }
}
