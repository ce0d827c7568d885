//! Blank disks, for what a workload writes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::compress::decompress;

/// Bytes looked at at once: zeros are left out.
const BLOCK: usize = 4096;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Makes an empty `file` a disk of `len` bytes, which begins as `blank`, compressed, does. It takes no more space than
/// what is not zeros.
pub fn write_blank(blank: &[u8], file: &mut File, len: u64) -> io::Result<()> {
    let mut content = decompress(blank)?;
    let mut block = Vec::with_capacity(BLOCK);
    let mut at = 0;
    loop {
        block.clear();
        let count = content
            .by_ref()
            .take(BLOCK as u64)
            .read_to_end(&mut block)?;
        if count == 0 {
            return file.set_len(len);
        }
        if block != ZEROS[..count] {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&block)?;
        }
        at += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_blank_disk_takes_what_is_not_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut content = vec![0; 1 << 20];
        content[5 * BLOCK + 7] = 1;
        content[(1 << 20) - 1] = 2;
        let packed = zstd::encode_all(&content[..], 1).unwrap();
        write_blank(&packed, &mut File::create_new(&path).unwrap(), 1 << 30).unwrap();
        let written = std::fs::metadata(&path).unwrap();
        assert_eq!(written.len(), 1 << 30);
        assert!(written.blocks() * 512 <= 16 << 10, "{}", written.blocks());
        let mut found = vec![0; 1 << 20];
        File::open(&path).unwrap().read_exact(&mut found).unwrap();
        assert!(found == content);
    }
}
