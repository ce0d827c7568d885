//! Bytes on the wire: little-endian integers and length-prefixed byte strings, nothing else.
//!
//! ```text
//! u8 | u16 | u32 | u64          little-endian
//! bytes   u32 length, then that many bytes
//! list    u32 count, then that many items
//! option  u8 0 | u8 1, item
//! ```
//!
//! [`Reader`] never trusts a length: it checks against what is left before it takes anything, so
//! a hostile peer costs no more memory than the bytes it sent.

use std::fmt;

/// Why bytes could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end before the value does.
    Truncated,
    /// Bytes are left over after the last field.
    Trailing,
    /// A tag (frame kind, enum variant, flag) that this version does not know.
    UnknownTag(u8),
    /// A frame longer than [`crate::frame::MAX_PAYLOAD`].
    TooLong(u32),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the frame ends before its last field"),
            Self::Trailing => write!(f, "the frame has bytes after its last field"),
            Self::UnknownTag(tag) => write!(f, "unknown tag {tag} in a frame"),
            Self::TooLong(len) => write!(f, "a frame of {len} bytes is longer than allowed"),
        }
    }
}

impl std::error::Error for WireError {}

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A flag, as one byte.
    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// A byte string with its length.
    pub fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.bytes.extend_from_slice(value);
    }

    /// A list: its count, then each item by `write`.
    pub fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.count(items.len());
        for item in items {
            write(self, item);
        }
    }

    fn count(&mut self, len: usize) {
        self.u32(u32::try_from(len).expect("a frame is far shorter than 4 GiB"));
    }
}

/// Takes values from a buffer, front to back.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Says that nothing may be left.
    pub fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::Trailing)
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A flag.
    pub fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(WireError::UnknownTag(tag)),
        }
    }

    /// A byte string with its length.
    pub fn bytes(&mut self) -> Result<Vec<u8>, WireError> {
        let len = self.u32()?;
        let len = usize::try_from(len).map_err(|_| WireError::TooLong(len))?;
        self.take(len).map(<[u8]>::to_vec)
    }

    /// Exactly `N` bytes.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.array()
    }

    /// A list whose items `read` takes.
    pub fn list<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = self.u32()?;
        // Grown item by item: a count alone never reserves memory.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }
}
