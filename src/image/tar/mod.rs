//! Reading tar, one entry after another: ustar, PAX (POSIX.1-2001) and GNU extensions.
//!
//! ```text
//! ├ header ┼ data, padded to 512 ┼ header ┼ …  ┼ zeros ┤
//!     └ 'x' PAX records, 'L'/'K' GNU long names: about the next entry
//!     └ 'S' GNU sparse: a map in the header and in blocks behind it
//! ```
//! The fields of a header are parsed by the `tar` crate; what spans several blocks is put together
//! here, because memory has to stay bounded whatever an archive claims about itself.

mod pax;
mod sparse;

use std::io::{self, Read, Seek, SeekFrom};

use thiserror::Error;

use super::tree::Device;
use pax::Records;
pub use sparse::Extent;

/// Headers and data come in blocks of this many bytes.
pub const BLOCK: usize = 512;

/// Longest PAX header or GNU long name, bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// Most headers that speak about the same entry: writers need four.
const MAX_EXTENSIONS: usize = 16;

/// Why an archive cannot be read on.
#[derive(Debug, Error)]
pub enum TarError {
    /// Reading failed; `UnexpectedEof` when the archive ends inside an entry.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It breaks the format.
    #[error("{0}")]
    Malformed(&'static str),
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A hard link.
    Link,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A type flag that is none of these.
    Other(u8),
}

/// One entry, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name as archived.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time, seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Device number of a device.
    pub device: Device,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of the file; of a sparse one, holes included.
    pub size: u64,
    /// The parts of a sparse file that are not holes, in order; their data follows end to end.
    pub sparse: Option<Vec<Extent>>,
}

/// Where an archive comes from.
pub trait Bytes: Read {
    /// Passes over bytes.
    fn skip(&mut self, count: u64) -> io::Result<()>;
}

/// Bytes that only come one after another.
#[derive(Debug)]
pub struct Sequential<R>(pub R);

impl<R: Read> Read for Sequential<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Bytes for Sequential<R> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        match io::copy(&mut (&mut self.0).take(count), &mut io::sink())? {
            skipped if skipped == count => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Bytes of a file of known length.
#[derive(Debug)]
pub struct Seekable<F> {
    file: F,
    left: u64,
}

impl<F: Seek> Seekable<F> {
    /// From the start of `file`.
    pub fn new(mut file: F) -> io::Result<Self> {
        let left = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        Ok(Self { file, left })
    }
}

impl<F: Read> Read for Seekable<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

impl<F: Read + Seek> Bytes for Seekable<F> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(count)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let count = i64::try_from(count).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.file.seek_relative(count)
    }
}

/// Reads an archive.
#[derive(Debug)]
pub struct Reader<B> {
    from: B,
    /// Data of the current entry that is not read yet, and the padding behind it.
    data: u64,
    padding: u64,
    /// Bytes taken so far.
    position: u64,
    globals: Records,
}

/// What extension headers said about the entry that follows them.
#[derive(Debug, Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Records,
}

impl<B: Bytes> Reader<B> {
    /// Reads from the beginning of `from`.
    pub fn new(from: B) -> Self {
        Self {
            from,
            data: 0,
            padding: 0,
            position: 0,
            globals: Records::default(),
        }
    }

    /// Where the next unread byte is.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What is behind the archive, when `next_entry` has given `None`.
    pub fn into_inner(self) -> B {
        self.from
    }

    /// The next entry; its data is what this reader then reads. `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        for _ in 0..=MAX_EXTENSIONS {
            self.skip_rest()?;
            let Some(block) = self.next_block()? else {
                return Ok(None);
            };
            let header = tar::Header::from_byte_slice(&block);
            check(header, &block)?;
            self.open(number(header.entry_size())?)?;
            match header.entry_type().as_byte() {
                b'L' => extensions.name = Some(self.long_name()?),
                b'K' => extensions.link = Some(self.long_name()?),
                b'x' => extensions.records = Records::parse(&self.extension()?)?,
                b'g' => self.globals = Records::parse(&self.extension()?)?,
                _ => return self.assemble(header, extensions).map(Some),
            }
        }
        Err(TarError::Malformed(
            "an entry with too many extension headers",
        ))
    }

    fn assemble(&mut self, header: &tar::Header, given: Extensions) -> Result<Entry, TarError> {
        let records = given.records.over(&self.globals);
        if let Some(size) = records.number("size")? {
            self.open(size)?;
        }
        let flag = header.entry_type().as_byte();
        let mut name = given
            .name
            .unwrap_or_else(|| header.path_bytes().into_owned());
        if let Some(path) = records.text("path") {
            name = path.to_vec();
        }
        let kind = kind(flag, &name);
        if !matches!(kind, Kind::File | Kind::Other(_)) {
            // Some writers give these the size of what they stand for; no data follows all the same.
            self.open(0)?;
        }
        let link = records.text("linkpath").map(<[u8]>::to_vec);
        let link = link
            .or(given.link)
            .or_else(|| header.link_name_bytes().map(Into::into));
        let mut entry = Entry {
            kind,
            link: link.unwrap_or_default(),
            mode: u16::try_from(number(header.mode())? & 0o7777).expect("twelve bits"),
            uid: records
                .number("uid")?
                .map_or_else(|| number(header.uid()), Ok)?,
            gid: records
                .number("gid")?
                .map_or_else(|| number(header.gid()), Ok)?,
            mtime: match records.time("mtime")? {
                Some(time) => time,
                None => (mtime(header), 0),
            },
            device: Device {
                major: field(header.device_major()),
                minor: field(header.device_minor()),
            },
            xattrs: records.xattrs(),
            size: self.data,
            sparse: None,
            name,
        };
        if flag == b'S' {
            self.read_gnu_map(header, &mut entry)?;
        } else if records.is_sparse() {
            self.read_pax_map(&records, &mut entry)?;
        }
        Ok(entry)
    }

    /// An old GNU sparse file: the first extents stand in the header, more in blocks behind it.
    fn read_gnu_map(&mut self, header: &tar::Header, entry: &mut Entry) -> Result<(), TarError> {
        let gnu = header
            .as_gnu()
            .ok_or(TarError::Malformed("a sparse file without a map"))?;
        let stored = self.data;
        // The blocks of the map come before the data and are not counted in its size.
        self.open(0)?;
        let mut extents = Vec::new();
        sparse::push(&mut extents, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let block = self
                .next_block()?
                .ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
            let mut extension = tar::GnuExtSparseHeader::new();
            extension.as_mut_bytes().copy_from_slice(&block);
            sparse::push(&mut extents, &extension.sparse)?;
            more = extension.is_extended();
        }
        self.open(stored)?;
        entry.size = number(gnu.real_size())?;
        entry.kind = Kind::File;
        entry.sparse = Some(sparse::check(extents, entry.size, stored)?);
        Ok(())
    }

    /// A PAX sparse file, format 0.0, 0.1 or 1.0 of GNU tar.
    fn read_pax_map(&mut self, records: &Records, entry: &mut Entry) -> Result<(), TarError> {
        let extents = if records.number("GNU.sparse.major")? == Some(1) {
            sparse::read_map(self)?
        } else {
            records.sparse_map()?
        };
        if let Some(name) = records.text("GNU.sparse.name") {
            entry.name = name.to_vec();
        }
        let real = records
            .number("GNU.sparse.realsize")?
            .or(records.number("GNU.sparse.size")?);
        entry.size = real.ok_or(TarError::Malformed("a sparse file without a size"))?;
        entry.sparse = Some(sparse::check(extents, entry.size, self.data)?);
        Ok(())
    }

    /// A block; `None` at the end of the archive: a block of zeros, or no more bytes.
    fn next_block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.from.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.position += BLOCK as u64;
        Ok((block != [0; BLOCK]).then_some(block))
    }

    fn open(&mut self, size: u64) -> Result<(), TarError> {
        let padded = size.checked_next_multiple_of(BLOCK as u64);
        self.padding = padded.ok_or(TarError::Malformed("an entry of 16 EiB"))? - size;
        self.data = size;
        Ok(())
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let rest = self.data.checked_add(self.padding);
        let rest = rest.ok_or(TarError::Malformed("an entry of 16 EiB"))?;
        if rest > 0 {
            self.from.skip(rest)?;
        }
        self.position = self.position.saturating_add(rest);
        (self.data, self.padding) = (0, 0);
        Ok(())
    }

    fn extension(&mut self) -> Result<Vec<u8>, TarError> {
        if self.data > MAX_EXTENSION {
            return Err(TarError::Malformed(
                "an extension header of more than 1 MiB",
            ));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A GNU long name, without the zero behind it.
    fn long_name(&mut self) -> Result<Vec<u8>, TarError> {
        let mut name = self.extension()?;
        let end = name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }
}

/// Reads the current entry's data.
impl<B: Bytes> Read for Reader<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.data)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if limit == 0 {
            return Ok(0);
        }
        let count = self.from.read(&mut buffer[..limit])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.data -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

/// Whether this is a header at all: its checksum counts its own field as blanks.
fn check(header: &tar::Header, block: &[u8; BLOCK]) -> Result<(), TarError> {
    const FIELD: std::ops::Range<usize> = 148..156;
    let blanked = |(at, byte): (usize, &u8)| if FIELD.contains(&at) { b' ' } else { *byte };
    let unsigned: u32 = block
        .iter()
        .enumerate()
        .map(|at| u32::from(blanked(at)))
        .sum();
    let signed: i32 = block
        .iter()
        .enumerate()
        .map(|at| i32::from(blanked(at).cast_signed()))
        .sum();
    let stated = number(header.cksum().map(u64::from))?;
    // Some old writers summed signed characters.
    if stated == u64::from(unsigned) || i64::try_from(stated) == Ok(i64::from(signed)) {
        Ok(())
    } else {
        Err(TarError::Malformed("a header with a wrong checksum"))
    }
}

fn kind(flag: u8, name: &[u8]) -> Kind {
    match flag {
        // Before POSIX a directory was a file whose name ends with a slash.
        0 | b'0' if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' => Kind::File,
        b'1' => Kind::Link,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => Kind::Other(other),
    }
}

fn number<T: Into<u64>>(field: io::Result<T>) -> Result<u64, TarError> {
    field
        .map(Into::into)
        .map_err(|_| TarError::Malformed("a header with a malformed number"))
}

/// Seconds since the epoch; times before it are negative numbers in base 256.
fn mtime(header: &tar::Header) -> i64 {
    header.mtime().map_or(0, u64::cast_signed)
}

fn field(number: io::Result<Option<u32>>) -> u32 {
    number.ok().flatten().unwrap_or(0)
}

#[cfg(test)]
mod tests;
