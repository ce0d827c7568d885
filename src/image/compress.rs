//! Decompression, by what the bytes are and not by what they are called. The one door to gzip and
//! zstd.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Skippable zstd frames, which some writers begin with, are `0x184D2A5?`.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// Bytes read from the archive at once.
const READ_AHEAD: usize = 256 << 10;

/// The largest window a zstd frame may ask for: 128 MiB, as the zstd command has it.
const WINDOW_LOG: u32 = 27;

/// The plain bytes of `reader`, which may be gzip, zstd or plain.
pub fn decompress<'a>(reader: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut reader = BufReader::with_capacity(READ_AHEAD, reader);
    let head = reader.fill_buf()?;
    if head.starts_with(&GZIP) {
        return Ok(Box::new(MultiGzDecoder::new(reader)));
    }
    if head.starts_with(&ZSTD) || head.get(1..4) == Some(&ZSTD_SKIPPABLE) {
        let mut decoder = zstd::Decoder::with_buffer(reader)?;
        decoder.window_log_max(WINDOW_LOG)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(reader))
}

/// A whole zstd document in memory.
pub fn decompress_zstd(bytes: &[u8]) -> io::Result<Vec<u8>> {
    zstd::decode_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn every_form_gives_the_same_bytes() {
        let plain = b"some text that is some text".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        let twice = [gzip.clone(), gzip.clone()].concat();
        let table = [
            (plain.clone(), plain.clone()),
            (gzip, plain.clone()),
            (zstd, plain.clone()),
            (twice, plain.repeat(2)),
        ];
        for (packed, expected) in table {
            let mut found = Vec::new();
            decompress(&packed[..])
                .unwrap()
                .read_to_end(&mut found)
                .unwrap();
            assert!(found == expected);
        }
    }
}
