//! What is in a file, as 64 bits: FNV-1a (Fowler, Noll, Vo) over the pages that are not all zero, each with
//! its place before it. A hole counts as the zeros that it reads as, and costs nothing, so that a sparse
//! file of a terabyte has its hash at once.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use super::reach::Reach;
use crate::sys::files::next_data;

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

const PAGE: usize = 4096;

/// Bytes that are read at once.
const BLOCK: usize = 16 * PAGE;

/// The hash of the regular file at `path`; `None` for one that has gone, or may not be read.
pub fn hash(path: &[u8]) -> Option<u64> {
    let reach = Reach::to(path).ok()?;
    // Whatever is there by now, nobody is waited for.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options()
        .read(true)
        .custom_flags(flags)
        .open(reach.path())
        .ok()?;
    file.metadata().ok()?.is_file().then_some(())?;
    hash_pages(&file).ok()
}

fn hash_pages(file: &File) -> io::Result<u64> {
    let mut hash = BASIS;
    let mut block = vec![0; BLOCK];
    let mut at = 0;
    while let Some(data) = next_data(file, at)? {
        at = data - data % BLOCK as u64;
        let length = fill(file, &mut block, at)?;
        for page in block[..length].chunks(PAGE) {
            if page.iter().any(|byte| *byte != 0) {
                hash = mix(mix(hash, &at.to_le_bytes()), page);
            }
            at += page.len() as u64;
        }
        if length < BLOCK {
            break;
        }
    }
    Ok(hash)
}

fn mix(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}

/// Reads until the block is full, or the file is over.
fn fill(file: &File, block: &mut [u8], at: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match file.read_at(&mut block[length..], at + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_hole_is_zeros_and_a_place_counts() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let hash_of = |name: &str| hash(at(name).as_os_str().as_bytes());
        fs::write(at("zeros"), vec![0; 3 * BLOCK + 5]).unwrap();
        File::create(at("hole"))
            .unwrap()
            .set_len(3 * BLOCK as u64 + 5)
            .unwrap();
        assert_eq!(hash_of("zeros"), hash_of("hole"));
        for (name, place) in [
            ("a", 0),
            ("b", PAGE),
            ("c", 5 * BLOCK + 7),
            ("huge", 1 << 40),
        ] {
            let file = File::create(at(name)).unwrap();
            file.write_all_at(b"x", place as u64).unwrap();
        }
        let hashes: Vec<_> = ["hole", "a", "b", "c", "huge"].map(hash_of).into();
        for (number, hash) in hashes.iter().enumerate() {
            assert!(hash.is_some() && !hashes[..number].contains(hash));
        }
        assert_eq!(hash_of("gone"), None);
        assert_eq!(hash(folder.path().as_os_str().as_bytes()), None);
    }
}
