//! The layout of FUSE messages: numbers of `include/uapi/linux/fuse.h`, and how they are read and
//! written. All integers are little-endian, as x86-64 has them.

use std::ffi::CStr;

use rustix::io::Errno;

/// Protocol version that this server speaks.
pub const MAJOR: u32 = 7;
/// Its minor number; what is newer was not asked for by the flags below.
pub const MINOR: u32 = 38;

/// Bytes of `fuse_in_header`, before each request.
pub const IN_HEADER: usize = 40;
/// Bytes of `fuse_out_header`, before each answer.
pub const OUT_HEADER: usize = 16;
/// Bytes of `fuse_write_in`, before the data.
pub const WRITE_IN: usize = 40;

/// The root's number.
pub const ROOT: u64 = 1;

/// FUSE_*: operations.
pub mod op {
    #![allow(missing_docs, reason = "the names are those of the protocol")]
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const SETXATTR: u32 = 21;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const REMOVEXATTR: u32 = 24;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const READDIRPLUS: u32 = 44;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
    pub const COPY_FILE_RANGE: u32 = 47;
    pub const SYNCFS: u32 = 50;
}

/// FUSE_*: features, as flags of INIT.
pub mod feature {
    /// Several reads of a file at once.
    pub const ASYNC_READ: u32 = 1 << 0;
    /// OPEN takes O_TRUNC.
    pub const ATOMIC_O_TRUNC: u32 = 1 << 3;
    /// Writes of more than a page.
    pub const BIG_WRITES: u32 = 1 << 5;
    /// Cached data goes when size or time of the file have changed.
    pub const AUTO_INVAL_DATA: u32 = 1 << 12;
    /// READDIRPLUS, where it is worth it.
    pub const DO_READDIRPLUS: u32 = 1 << 13;
    /// See above.
    pub const READDIRPLUS_AUTO: u32 = 1 << 14;
    /// Several direct reads and writes at once.
    pub const ASYNC_DIO: u32 = 1 << 15;
    /// Several lookups in a directory at once.
    pub const PARALLEL_DIROPS: u32 = 1 << 18;
    /// The answer says how many pages a request may have.
    pub const MAX_PAGES: u32 = 1 << 22;
    /// The server takes set-user-id bits away, when it is told to.
    pub const HANDLE_KILLPRIV_V2: u32 = 1 << 28;
    /// All of the above.
    pub const WANTED: u32 = ASYNC_READ
        | ATOMIC_O_TRUNC
        | BIG_WRITES
        | AUTO_INVAL_DATA
        | DO_READDIRPLUS
        | READDIRPLUS_AUTO
        | ASYNC_DIO
        | PARALLEL_DIROPS
        | MAX_PAGES
        | HANDLE_KILLPRIV_V2;
}

/// Reads a request's fields, one after the other. What is too short is EINVAL.
#[derive(Debug)]
pub struct Fields<'b>(pub &'b [u8]);

impl<'b> Fields<'b> {
    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'b [u8], Errno> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(taken)
    }

    /// An integer of 32 bits.
    pub fn u32(&mut self) -> Result<u32, Errno> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(
            bytes.try_into().map_err(|_| Errno::INVAL)?,
        ))
    }

    /// An integer of 64 bits.
    pub fn u64(&mut self) -> Result<u64, Errno> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(
            bytes.try_into().map_err(|_| Errno::INVAL)?,
        ))
    }

    /// Bytes up to the next NUL.
    pub fn string(&mut self) -> Result<&'b CStr, Errno> {
        let string = CStr::from_bytes_until_nul(self.0).map_err(|_| Errno::INVAL)?;
        self.take(string.count_bytes() + 1)?;
        Ok(string)
    }

    /// The name of an entry in a directory: one step, down.
    pub fn name(&mut self) -> Result<&'b CStr, Errno> {
        let name = self.string()?;
        check_name(name.to_bytes()).map(|()| name)
    }
}

/// What leads to anywhere but to an entry of a directory is no name.
fn check_name(name: &[u8]) -> Result<(), Errno> {
    match name {
        b"" | b"." | b".." => Err(Errno::INVAL),
        name if name.len() > 255 => Err(Errno::NAMETOOLONG),
        name if name.contains(&b'/') => Err(Errno::INVAL),
        _ => Ok(()),
    }
}

/// An answer's fields, one after the other.
#[derive(Debug, Default)]
pub struct Answer(pub Vec<u8>);

impl Answer {
    /// Adds an integer of 16 bits.
    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds an integer of 32 bits.
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds an integer of 64 bits.
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds bytes as they are.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Adds zeros up to a multiple of eight.
    pub fn align(mut self) -> Self {
        let len = self.0.len().next_multiple_of(8);
        self.0.resize(len, 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_step_down() {
        let name = |bytes: &'static [u8]| Fields(bytes).name();
        assert_eq!(name(b"a b\0"), Ok(c"a b"));
        assert_eq!(name(b"..a\0rest"), Ok(c"..a"));
        for bad in [
            &b"a"[..],
            b"\0",
            b".\0",
            b"..\0",
            b"a/b\0",
            b"/\0",
            b"../x\0",
            b"",
        ] {
            assert_eq!(name(bad), Err(Errno::INVAL), "{bad:?}");
        }
        let long = [&[b'x'; 256][..], b"\0"].concat();
        assert_eq!(Fields(&long).name(), Err(Errno::NAMETOOLONG));
        assert!(Fields(&long[1..]).name().is_ok());
    }

    #[test]
    fn fields_end_where_the_bytes_do() {
        let mut fields = Fields(&[1, 0, 0, 0, 2, 0, 0]);
        assert_eq!(fields.u32(), Ok(1));
        assert_eq!(fields.u32(), Err(Errno::INVAL));
        assert_eq!(fields.u64(), Err(Errno::INVAL));
    }
}
