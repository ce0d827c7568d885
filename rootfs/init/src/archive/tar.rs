//! The stream: ustar headers (POSIX.1-1988), and pax records (POSIX.1-2001) for what has no room there.
//!
//! Times are whole seconds, as docker's archives have them.

use std::io::{self, Read, Write};

use super::{CHUNK, Entry, Error, Kind};

/// Headers and bytes come in blocks.
const BLOCK: usize = 512;

/// Longest header of pax records that is read: room for all attributes of a file.
const MOST_RECORDS: u64 = 1 << 20;

/// Fields of a header: where, and how many bytes (ustar(5)).
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 8);
const UID: (usize, usize) = (108, 8);
const GID: (usize, usize) = (116, 8);
const SIZE: (usize, usize) = (124, 12);
const MTIME: (usize, usize) = (136, 12);
const SUM: (usize, usize) = (148, 8);
const FLAG: usize = 156;
const LINK: (usize, usize) = (157, 100);
const MAGIC: (usize, usize) = (257, 8);
const MAJOR: (usize, usize) = (329, 8);
const MINOR: (usize, usize) = (337, 8);

/// `ustar`, and its version.
const USTAR: &[u8; 8] = b"ustar\x0000";

/// What stands before the name of an attribute.
const XATTR: &[u8] = b"SCHILY.xattr.";

type Block = [u8; BLOCK];

/// Writes an archive.
#[derive(Debug)]
pub struct Writer<W: Write> {
    to: W,
    /// Bytes of the entry at work that are still to come, and zeros after them.
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Writes to `to`, in pieces as they come.
    pub fn new(to: W) -> Self {
        Self {
            to,
            left: 0,
            padding: 0,
        }
    }

    /// Begins an entry; `size` bytes of data have to follow.
    pub fn begin(&mut self, entry: &Entry) -> Result<(), Error> {
        let mut block = [0; BLOCK];
        let mut records = Vec::new();
        let mut name = entry.name.clone();
        if entry.kind == Kind::Directory {
            name.push(b'/');
        }
        put_text(&mut block, NAME, &name, b"path", &mut records);
        put_text(&mut block, LINK, &entry.link, b"linkpath", &mut records);
        put_number(&mut block, MODE, entry.mode.into(), b"mode", &mut records);
        put_number(&mut block, UID, entry.uid.into(), b"uid", &mut records);
        put_number(&mut block, GID, entry.gid.into(), b"gid", &mut records);
        put_number(&mut block, SIZE, entry.size, b"size", &mut records);
        match u64::try_from(entry.mtime) {
            Ok(mtime) => put_number(&mut block, MTIME, mtime, b"mtime", &mut records),
            Err(_) => put_record(&mut records, b"mtime", entry.mtime.to_string().as_bytes()),
        }
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
            put_octal(&mut block, MAJOR, entry.device.0.into());
            put_octal(&mut block, MINOR, entry.device.1.into());
        }
        for (name, value) in &entry.xattrs {
            put_record(&mut records, &[XATTR, name].concat(), value);
        }
        if !records.is_empty() {
            self.extend(&records)?;
        }
        self.header(block, flag(entry.kind), entry.size)
    }

    /// Data of the entry at work: not more than it said.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.left = match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => left,
            None => return Err(Error::Malformed("an entry with more bytes than it says")),
        };
        self.to.write_all(bytes)?;
        if self.left == 0 {
            let zeros = [0; BLOCK];
            self.to.write_all(&zeros[..self.padding])?;
            self.padding = 0;
        }
        Ok(())
    }

    /// Zeros for what the entry at work still lacks.
    pub fn fill(&mut self) -> Result<(), Error> {
        let zeros = [0; BLOCK];
        while self.left > 0 {
            let count = usize::try_from(self.left).map_or(BLOCK, |left| left.min(BLOCK));
            self.data(&zeros[..count])?;
        }
        Ok(())
    }

    /// An entry, and its data from `from`.
    pub fn copy(&mut self, entry: &Entry, from: &mut impl Read) -> Result<(), Error> {
        self.begin(entry)?;
        let mut buffer = vec![0; CHUNK.min(usize::try_from(entry.size).unwrap_or(CHUNK))];
        while self.left > 0 {
            match from.read(&mut buffer)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => self.data(&buffer[..count])?,
            }
        }
        Ok(())
    }

    /// Ends the archive; everything is on its way.
    pub fn end(&mut self) -> Result<(), Error> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        Ok(self.to.flush()?)
    }

    /// Ends the archive, and gives back what it was written to.
    pub fn finish(mut self) -> Result<W, Error> {
        self.end()?;
        Ok(self.to)
    }

    /// What it is written to.
    pub fn get_ref(&self) -> &W {
        &self.to
    }

    fn extend(&mut self, records: &[u8]) -> Result<(), Error> {
        let mut block = [0; BLOCK];
        let size = records.len() as u64;
        put_bytes(&mut block, NAME, b"pax");
        put_octal(&mut block, MODE, 0o644);
        for field in [UID, GID, MTIME] {
            put_octal(&mut block, field, 0);
        }
        put_octal(&mut block, SIZE, size);
        self.header(block, b'x', size)?;
        self.data(records)
    }

    fn header(&mut self, mut block: Block, flag: u8, size: u64) -> Result<(), Error> {
        block[FLAG] = flag;
        put_bytes(&mut block, MAGIC, USTAR);
        let sum = sum(&block);
        put_octal(&mut block, (SUM.0, 7), sum);
        block[SUM.0 + 7] = b' ';
        self.to.write_all(&block)?;
        self.left = size;
        self.padding = padding(size);
        Ok(())
    }
}

/// Zeros behind this many bytes.
fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

fn put_bytes(block: &mut Block, (at, room): (usize, usize), bytes: &[u8]) {
    let count = bytes.len().min(room);
    block[at..at + count].copy_from_slice(&bytes[..count]);
}

fn put_text(
    block: &mut Block,
    field: (usize, usize),
    text: &[u8],
    key: &[u8],
    records: &mut Vec<u8>,
) {
    put_bytes(block, field, text);
    if text.len() > field.1 {
        put_record(records, key, text);
    }
}

/// A number, and a zero behind it.
fn put_octal(block: &mut Block, (at, room): (usize, usize), mut number: u64) {
    for place in (at..at + room - 1).rev() {
        block[place] = b"01234567"[usize::try_from(number % 8).unwrap_or(0)];
        number /= 8;
    }
}

fn put_number(
    block: &mut Block,
    field: (usize, usize),
    number: u64,
    key: &[u8],
    records: &mut Vec<u8>,
) {
    let fits = number < 1 << (3 * (field.1 - 1));
    put_octal(block, field, if fits { number } else { 0 });
    if !fits {
        put_record(records, key, number.to_string().as_bytes());
    }
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn put_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// All bytes of a header, its own field counted as blanks.
fn sum(block: &Block) -> u64 {
    let field = SUM.0..SUM.0 + SUM.1;
    let bytes = block.iter().enumerate();
    bytes
        .map(|(at, byte)| if field.contains(&at) { b' ' } else { *byte })
        .map(u64::from)
        .sum()
}

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::Link => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// Reads an archive that [`Writer`] wrote, or somebody who wants to be taken for it.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    left: u64,
    padding: usize,
}

impl<R: Read> Reader<R> {
    /// Reads from `from`.
    pub fn new(from: R) -> Self {
        Self {
            from,
            left: 0,
            padding: 0,
        }
    }

    /// What the archive was read from.
    pub fn into_inner(self) -> R {
        self.from
    }

    /// The next entry; its data is what this reader then reads. `None` at the archive's own end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut records = Vec::new();
        let mut extended = false;
        loop {
            self.skip_rest()?;
            let block = self.block()?;
            if block == [0; BLOCK] {
                return match extended {
                    false => Ok(None),
                    true => Err(Error::Malformed("records about nothing")),
                };
            }
            if number(&block, SUM)? != sum(&block) {
                return Err(Error::Malformed("a header with a wrong checksum"));
            }
            if block[FLAG] != b'x' {
                return self.entry(&block, &records).map(Some);
            }
            if extended {
                return Err(Error::Malformed("records about records"));
            }
            extended = true;
            self.open(number(&block, SIZE)?);
            if self.left > MOST_RECORDS {
                return Err(Error::Malformed("a header of more than 1 MiB"));
            }
            self.read_to_end(&mut records)?;
        }
    }

    fn entry(&mut self, block: &Block, records: &[u8]) -> Result<Entry, Error> {
        let kind = match block[FLAG] {
            b'0' => Kind::File,
            b'1' => Kind::Link,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => return Err(Error::Malformed("an entry of an unknown kind")),
        };
        let mut entry = Entry {
            name: text(block, NAME),
            kind,
            link: text(block, LINK),
            mode: narrow(number(block, MODE)?)? & 0o7777,
            uid: narrow(number(block, UID)?)?,
            gid: narrow(number(block, GID)?)?,
            size: number(block, SIZE)?,
            mtime: number(block, MTIME)?.cast_signed(),
            device: (0, 0),
            xattrs: Vec::new(),
        };
        if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            entry.device = (
                narrow(number(block, MAJOR)?)?,
                narrow(number(block, MINOR)?)?,
            );
        }
        each_record(records, |key, value| apply(&mut entry, key, value))?;
        while entry.name.ends_with(b"/") {
            entry.name.pop();
        }
        if kind != Kind::File && entry.size != 0 {
            return Err(Error::Malformed("bytes of what has none"));
        }
        self.open(entry.size);
        Ok(entry)
    }

    fn open(&mut self, size: u64) {
        self.left = size;
        self.padding = padding(size);
    }

    fn block(&mut self) -> Result<Block, Error> {
        let mut block = [0; BLOCK];
        self.from.read_exact(&mut block)?;
        Ok(block)
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        let mut sink = [0; 4096];
        while self.left > 0 {
            let most = usize::try_from(self.left).map_or(sink.len(), |left| left.min(sink.len()));
            self.read_exact(&mut sink[..most])?;
        }
        let padding = self.padding;
        self.padding = 0;
        Ok(self.from.read_exact(&mut sink[..padding])?)
    }
}

/// Reads the data of the entry at work.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.from.read(&mut buffer[..most])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

fn text(block: &Block, (at, room): (usize, usize)) -> Vec<u8> {
    let bytes = &block[at..at + room];
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes[..end.unwrap_or(room)].to_vec()
}

fn number(block: &Block, (at, room): (usize, usize)) -> Result<u64, Error> {
    let mut number: u64 = 0;
    let digits = block[at..at + room].iter();
    for digit in digits.take_while(|byte| !matches!(byte, 0 | b' ')) {
        if !(b'0'..=b'7').contains(digit) {
            return Err(Error::Malformed("a header with a malformed number"));
        }
        number = number << 3 | u64::from(digit - b'0');
    }
    Ok(number)
}

fn narrow(number: u64) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| Error::Malformed("a number that Linux does not have"))
}

fn each_record(
    mut bytes: &[u8],
    mut take: impl FnMut(&[u8], &[u8]) -> Option<()>,
) -> Result<(), Error> {
    while !bytes.is_empty() {
        let parsed = split_record(bytes).and_then(|(key, value, rest)| {
            bytes = rest;
            take(key, value)
        });
        parsed.ok_or(Error::Malformed("malformed records"))?;
    }
    Ok(())
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = decimal(&bytes[..blank])?;
    let record = bytes.get(blank + 1..usize::try_from(length).ok()?)?;
    let record = record.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let rest = &bytes[usize::try_from(length).ok()?..];
    Some((&record[..equals], &record[equals + 1..], rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

fn apply(entry: &mut Entry, key: &[u8], value: &[u8]) -> Option<()> {
    match key {
        b"path" => entry.name = value.to_vec(),
        b"linkpath" => entry.link = value.to_vec(),
        b"uid" => entry.uid = u32::try_from(decimal(value)?).ok()?,
        b"gid" => entry.gid = u32::try_from(decimal(value)?).ok()?,
        b"size" => entry.size = decimal(value)?,
        b"mtime" => entry.mtime = str::from_utf8(value).ok()?.parse().ok()?,
        _ => {
            let name = key.strip_prefix(XATTR)?;
            entry.xattrs.push((name.to_vec(), value.to_vec()));
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<(Entry, &'static [u8])> {
        let long = vec![b'n'; 300];
        let file = Entry {
            name: b"dir/a\nb".to_vec(),
            mode: 0o4755,
            uid: 1000,
            gid: 4_000_000_000,
            size: 5,
            mtime: 1_700_000_000,
            xattrs: vec![(b"user.a".to_vec(), b"\0\n=".to_vec())],
            ..Entry::default()
        };
        let link = Entry {
            name: [b"dir/", &long[..]].concat(),
            kind: Kind::Symlink,
            link: long.clone(),
            mode: 0o777,
            mtime: -5,
            ..Entry::default()
        };
        let device = Entry {
            name: b"null".to_vec(),
            kind: Kind::CharDevice,
            device: (1, 3),
            ..Entry::default()
        };
        let dir = Entry {
            name: vec![b'd'; 100],
            kind: Kind::Directory,
            mode: 0o1777,
            ..Entry::default()
        };
        vec![(dir, b""), (file, b"bytes"), (link, b""), (device, b"")]
    }

    fn archive() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, mut data) in entries() {
            writer.copy(&entry, &mut data).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = archive();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut reader = Reader::new(&bytes[..]);
        for (entry, data) in entries() {
            assert_eq!(reader.next_entry().unwrap(), Some(entry));
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, data);
        }
        assert_eq!(reader.next_entry().unwrap(), None);
    }

    #[test]
    fn what_breaks_off_or_is_changed_is_an_error_and_no_panic() {
        let bytes = archive();
        let read_all = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            while reader.next_entry()?.is_some() {}
            Ok::<_, Error>(())
        };
        for cut in (0..bytes.len() - 2 * BLOCK).step_by(97) {
            assert!(read_all(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut changed = 0;
        for at in 0..bytes.len() - 2 * BLOCK {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x15;
            changed += u32::from(read_all(&bytes).is_err());
        }
        assert!(changed > 1000, "{changed} changes were seen");
    }

    proptest::proptest! {
        #[test]
        fn records_read_back(key in "[a-z=]{0}[a-z]{1,20}", value in proptest::collection::vec(0u8.., 0..2000)) {
            let mut records = Vec::new();
            put_record(&mut records, key.as_bytes(), &value);
            let (name, read, rest) = split_record(&records).unwrap();
            proptest::prop_assert_eq!((name, read, rest), (key.as_bytes(), &value[..], &b""[..]));
        }
    }
}
