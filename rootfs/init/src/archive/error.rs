//! What can go wrong with files, as a sentence.

use std::fmt;
use std::io;

use crate::sys::Errno;

/// Why files cannot be packed or unpacked.
#[derive(Debug)]
pub enum Error {
    /// The kernel refuses something.
    Kernel {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: Vec<u8>,
        /// What it says.
        errno: i32,
    },
    /// An entry or a place that is not taken.
    Refused {
        /// Which.
        path: Vec<u8>,
        /// Why not.
        why: &'static str,
    },
    /// The stream breaks its format.
    Malformed(&'static str),
    /// The stream ends, or breaks off.
    Stream(io::Error),
}

impl Error {
    /// A refusal of `path`.
    pub fn refused(path: &[u8], why: &'static str) -> Self {
        Self::Refused {
            path: path.to_vec(),
            why,
        }
    }
}

/// Says what was tried, and on what.
pub trait Tried<T> {
    /// The error of trying `verb` on `path`, unless all is well.
    fn tried(self, verb: &'static str, path: &[u8]) -> Result<T, Error>;
}

impl<T> Tried<T> for Result<T, Errno> {
    fn tried(self, verb: &'static str, path: &[u8]) -> Result<T, Error> {
        self.map_err(|Errno(errno)| Error::Kernel {
            verb,
            path: path.to_vec(),
            errno,
        })
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { verb, path, errno } => {
                write!(f, "cannot {verb} `{}`: {}", Shown(path), words(*errno))
            }
            Self::Refused { path, why } => write!(f, "`{}`: {why}", Shown(path)),
            Self::Malformed(why) => write!(f, "the stream is no archive: {why}"),
            Self::Stream(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "the stream ends before its archive does")
            }
            Self::Stream(error) => {
                write!(
                    f,
                    "the stream broke off: {}",
                    words(error.raw_os_error().unwrap_or(libc::EIO))
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// What the kernel means by a number.
fn words(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// A path on one line: control characters and what is not UTF-8 are escaped.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    write!(f, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_line() {
        let gone = Err::<(), _>(Errno(libc::ENOENT)).tried("open", b"/a\nb\xff");
        let line = gone.unwrap_err().to_string();
        assert_eq!(line, "cannot open `/a\\nb\\xff`: No such file or directory");
        let eof = Error::from(io::Error::from(io::ErrorKind::UnexpectedEof));
        assert!(eof.to_string().contains("ends before"));
    }
}
