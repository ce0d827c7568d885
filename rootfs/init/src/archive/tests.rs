//! Files through a stream and back, and streams that nobody honest writes.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::tar::{Reader, Writer};
use super::*;

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn packed(path: &Path, name: &str) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let options = Options {
        follow: false,
        one_system: false,
    };
    pack(bytes(path), name.as_bytes(), options, &mut writer).unwrap();
    writer.finish().unwrap()
}

const WARY: Rules = Rules {
    owners: Owners::Mine,
    wary: true,
    parents: false,
};

/// Copies an archive to `dest`, as `cp` does; what was left out.
fn copy(archive: impl io::Read, dest: &Path, rules: Rules) -> Result<Vec<Vec<u8>>, Error> {
    let mut reader = Reader::new(archive);
    let first = reader.next_entry()?.expect("it has an entry");
    let source = Source {
        name: &first.name,
        kind: first.kind,
    };
    let place = place(bytes(dest), source)?;
    let root = first.name.clone();
    let mut left = Vec::new();
    let mut note = |path: &[u8], _: &str| left.push(path.to_vec());
    let unpacking = Unpacking::new(place, Some(&root), rules, &mut note);
    unpack(&mut reader, Some(first), unpacking)?;
    Ok(left)
}

/// Every path below `root`, and what is there.
fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stat = path.symlink_metadata().unwrap();
            let below = path.strip_prefix(root).unwrap().display().to_string();
            let what = match stat.is_symlink() {
                true => fs::read_link(&path).unwrap().display().to_string(),
                false => stat.size().to_string(),
            };
            let what = if stat.is_dir() { String::new() } else { what };
            let (mode, time) = (stat.mode(), stat.mtime());
            lines.push(format!("{below} {mode:o} {} {time} {what}", stat.nlink()));
            if stat.is_dir() {
                folders.push(path);
            }
        }
    }
    lines.sort();
    lines
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    fs::create_dir_all(from.join("deep/er")).unwrap();
    fs::write(from.join("a\nname"), "text").unwrap();
    fs::write(from.join("deep/large"), vec![7; 3 * CHUNK + 11]).unwrap();
    fs::write(from.join(format!("deep/{}", "n".repeat(255))), "x").unwrap();
    fs::hard_link(from.join("a\nname"), from.join("deep/linked")).unwrap();
    symlink("../nowhere", from.join("deep/er/soft")).unwrap();
    let sparse = File::create(from.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    sparse.write_all_at(b"data", 20 << 20).unwrap();
    drop(sparse);
    fs::set_permissions(from.join("a\nname"), Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(from.join("deep/er"), Permissions::from_mode(0o1500)).unwrap();
    let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    for name in ["a\nname", "deep/large", "deep", "."] {
        File::open(from.join(name))
            .unwrap()
            .set_times(time)
            .unwrap();
    }
    let to = folder.path().join("to");
    let left = copy(&packed(&from, "from")[..], &to, WARY).unwrap();
    assert!(left.is_empty());
    assert_eq!(listing(&from), listing(&to));
    assert_eq!(fs::metadata(&to).unwrap().mtime(), 0);
    let large = fs::read(to.join("deep/large")).unwrap();
    assert_eq!(large, vec![7; 3 * CHUNK + 11]);
    let sparse = fs::metadata(to.join("sparse")).unwrap();
    assert!(sparse.blocks() < 1024, "{} blocks", sparse.blocks());
    // Over itself: files are replaced, directories stay.
    let inode = fs::metadata(to.join("deep")).unwrap().ino();
    copy(&packed(&from, ".")[..], &to, WARY).unwrap();
    assert_eq!(listing(&from), listing(&to));
    assert_eq!(fs::metadata(to.join("deep")).unwrap().ino(), inode);
}

#[test]
fn dockers_rules_of_where_things_go() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("dir/sub")).unwrap();
    fs::write(at("file"), "new").unwrap();
    fs::write(at("other"), "old").unwrap();
    symlink("other", at("to-other")).unwrap();
    symlink("dir", at("to-dir")).unwrap();
    let go = |name: &str, called: &str, dest: &str| {
        copy(&packed(&at(name), called)[..], &at(dest), WARY).map(drop)
    };
    go("file", "file", "dir").unwrap();
    go("file", "file", "dir/").unwrap();
    assert_eq!(fs::read_to_string(at("dir/file")).unwrap(), "new");
    go("file", "file", "made").unwrap();
    assert_eq!(fs::read_to_string(at("made")).unwrap(), "new");
    assert!(go("file", "file", "gone/").is_err());
    assert!(go("file", "file", "gone/made").is_err());
    assert!(go("file", "file", "other/").is_err());
    go("file", "file", "to-other").unwrap();
    assert_eq!(fs::read_to_string(at("other")).unwrap(), "new");
    assert!(at("to-other").is_symlink());
    go("file", "file", "to-dir").unwrap();
    assert!(go("dir", "dir", "file").is_err());
    go("dir", "dir", "new").unwrap();
    assert!(at("new/sub").is_dir() && !at("new/dir").exists());
    go("dir", "dir", "new").unwrap();
    assert!(at("new/dir/sub").is_dir());
    fs::create_dir(at("empty")).unwrap();
    go("dir", ".", "empty").unwrap();
    assert!(at("empty/sub").is_dir());
    // A file never takes the place of a directory, nor the other way round.
    fs::create_dir_all(at("full/file")).unwrap();
    assert!(go("file", "file", "full").is_err());
    fs::write(at("empty/dir"), "").unwrap();
    assert!(go("dir", "dir", "empty").is_err());
}

/// An archive of entries that `pack` would never make.
fn forged(entries: &[(&str, Kind, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (name, kind, link) in entries {
        let size = if *kind == Kind::File { 4 } else { 0 };
        let entry = Entry {
            name: name.as_bytes().to_vec(),
            kind: *kind,
            link: link.as_bytes().to_vec(),
            mode: 0o6777,
            size,
            ..Entry::default()
        };
        let mut data = &b"evil"[..usize::try_from(size).unwrap()];
        writer.copy(&entry, &mut data).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_hostile_stream_stays_in_its_place() {
    use Kind::{CharDevice, Directory, File, Link, Symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("secret"), "mine").unwrap();
    let secret = at("secret");
    let outside = folder.path().to_str().unwrap();
    let attacks: [&[(&str, Kind, &str)]; 8] = [
        &[("x", Directory, ""), ("x/../../secret", File, "")],
        &[("x", Directory, ""), ("../secret", File, "")],
        &[("x", Directory, ""), ("y", File, "")],
        &[("x", Directory, ""), ("/etc/evil", File, "")],
        &[
            ("x", Directory, ""),
            ("x/up", Symlink, ".."),
            ("x/up/secret", File, ""),
        ],
        &[
            ("x", Directory, ""),
            ("x/up", Symlink, outside),
            ("x/up/secret", File, ""),
        ],
        &[("x", Directory, ""), ("x/hard", Link, "x/../../secret")],
        &[
            ("x", Directory, ""),
            ("x/up", Symlink, ".."),
            ("x/hard", Link, "x/up/secret"),
        ],
    ];
    for (number, attack) in attacks.into_iter().enumerate() {
        let dest = at(&format!("dest{number}"));
        fs::create_dir(&dest).unwrap();
        let error = copy(&forged(attack)[..], &dest, WARY).unwrap_err();
        let line = error.to_string();
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "mine", "{number}");
        assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1, "{number}");
        assert!(!at("y").exists() && !Path::new("/etc/evil").exists());
    }
    // A link to a file outside, and then a file of the link's name: the link is replaced.
    let attack = [
        ("x", Directory, ""),
        ("x/file", Symlink, secret.to_str().unwrap()),
        ("x/file", File, ""),
        ("x/null", CharDevice, ""),
    ];
    let left = copy(&forged(&attack)[..], &at("out"), WARY).unwrap();
    assert_eq!(left, [b"out/null"]);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "mine");
    let made = fs::symlink_metadata(at("out/file")).unwrap();
    assert_eq!(
        made.mode() & 0o7777,
        0o777,
        "no set-id bits of a stranger's"
    );
    assert!(!at("out/null").exists());
}

#[test]
fn a_stream_that_breaks_off_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    fs::create_dir(&from).unwrap();
    let mut file = File::create(from.join("file")).unwrap();
    file.write_all(&vec![1; 5000]).unwrap();
    let whole = packed(&from, "from");
    for cut in (512..whole.len() - 1024).step_by(333) {
        let dest = folder.path().join("to");
        let error = copy(&whole[..cut], &dest, WARY).unwrap_err();
        assert!(error.to_string().contains("ends before"), "{error}");
        fs::remove_dir_all(dest).unwrap();
    }
}
