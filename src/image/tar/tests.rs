//! Archives by the tar command, in each of its formats.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::*;

fn make(folder: &Path, flags: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["-C", folder.to_str().unwrap(), "-c"])
        .args(flags)
        .arg(".")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn read(archive: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let mut reader = Reader::new(Sequential(archive));
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).unwrap();
        found.push((entry, data));
    }
    found.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    found
}

#[test]
fn every_format_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let long = "d".repeat(120);
    fs::create_dir(at(&long)).unwrap();
    let deep = format!("{long}/{}", "f".repeat(200));
    fs::write(at(&deep), "deep").unwrap();
    symlink("t".repeat(150), at("link")).unwrap();
    fs::hard_link(at(&deep), at("zhard")).unwrap();
    let mut first = None;
    for format in ["gnu", "pax", "posix"] {
        let entries = read(&make(
            folder.path(),
            &["--sort=name", &format!("--format={format}"), "--mtime=@77"],
        ));
        let summary: Vec<_> = entries
            .iter()
            .map(|(e, data)| {
                (
                    e.name.clone(),
                    e.kind,
                    e.link.clone(),
                    e.mtime.0,
                    data.clone(),
                )
            })
            .collect();
        assert_eq!(summary.len(), 5);
        assert!(
            summary
                .iter()
                .any(|(_, _, link, time, _)| link == &b"t".repeat(150) && *time == 77)
        );
        assert!(
            summary
                .iter()
                .any(|(name, _, _, _, data)| name.ends_with(b"fff") && data == b"deep")
        );
        assert_eq!(*first.get_or_insert(summary.clone()), summary, "{format}");
    }
}

#[test]
fn sparse_files_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = File::create(folder.path().join("holes")).unwrap();
    for chunk in 0..40u64 {
        file.seek(SeekFrom::Start(chunk * (1 << 20))).unwrap();
        file.write_all(&[u8::try_from(chunk).unwrap() + 1; 4096])
            .unwrap();
    }
    file.set_len(100 << 20).unwrap();
    for flags in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let entries = read(&make(folder.path(), &[flags, &["-S"]].concat()));
        let (entry, data) = entries.iter().find(|(e, _)| e.name == b"./holes").unwrap();
        assert_eq!(
            (entry.size, entry.kind, data.len()),
            (100 << 20, Kind::File, 40 * 4096),
            "{flags:?}"
        );
        let extents = entry.sparse.as_ref().unwrap();
        let data_extents: Vec<_> = extents.iter().filter(|e| e.len > 0).collect();
        assert_eq!(data_extents.len(), 40);
        assert_eq!(data_extents[39].offset, 39 << 20);
        assert_eq!(data[39 * 4096], 40);
    }
}

#[test]
fn a_cut_archive_is_an_error_and_noise_is_none() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), [1; 3000]).unwrap();
    let archive = make(folder.path(), &["--sort=name"]);
    for cut in [100, 600, 1100, 2000] {
        let mut reader = Reader::new(Sequential(&archive[..cut]));
        let outcome = loop {
            match reader.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(outcome.is_err(), "cut at {cut}");
    }
    assert!(
        Reader::new(Sequential(&[7u8; 2000][..]))
            .next_entry()
            .is_err()
    );
}

#[test]
fn a_huge_extension_is_refused_before_memory_is_taken() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let mut reader = Reader::new(Sequential(header.as_bytes().chain(std::io::repeat(b'a'))));
    assert!(matches!(reader.next_entry(), Err(TarError::Malformed(_))));
}

#[test]
fn what_has_no_data_has_none_whatever_its_size_says() {
    let mut bytes = Vec::new();
    for (name, kind) in [("a", tar::EntryType::Link), ("b", tar::EntryType::Regular)] {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(700);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
    }
    bytes.extend([7; 1024]);
    let mut reader = Reader::new(Sequential(&bytes[..]));
    let mut next = || {
        reader
            .next_entry()
            .unwrap()
            .map(|entry| (entry.name, entry.size))
    };
    assert_eq!(next(), Some((b"a".to_vec(), 0)));
    assert_eq!(next(), Some((b"b".to_vec(), 700)));
    assert_eq!(next(), None);
}

#[test]
fn headers_about_headers_end() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(0);
    header.set_cksum();
    let endless = header.as_bytes().repeat(20);
    let mut reader = Reader::new(Sequential(&endless[..]));
    assert!(matches!(reader.next_entry(), Err(TarError::Malformed(_))));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..3000), flag in proptest::prelude::any::<u8>()) {
        // A right checksum, so that the fields behind it are looked at.
        if bytes.len() >= BLOCK {
            bytes[156] = b"xgLKS0125"[usize::from(flag) % 9];
            bytes[124..136].copy_from_slice(b"00000000700\0");
            let mut header = tar::Header::from_byte_slice(&bytes[..BLOCK]).clone();
            header.set_cksum();
            bytes[..BLOCK].copy_from_slice(header.as_bytes());
        }
        let mut reader = Reader::new(Sequential(&bytes[..]));
        while let Ok(Some(_)) = reader.next_entry() {}
    }
}
