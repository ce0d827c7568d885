//! What POSIX says of names, links, modes and open files, case by case.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// A case, in a folder of its own.
type Case = fn(&Path) -> Result<(), String>;

/// All of them.
pub const ALL: &[(&str, Case)] = &[
    ("a file removed while open", removed_while_open),
    ("rename onto a file", rename_onto_a_file),
    ("rename of directories", rename_of_directories),
    ("hard links", hard_links),
    ("symbolic links", symbolic_links),
    ("names", names),
    ("what is there is not made again", exclusive),
    ("directories that are not empty", not_empty),
    ("modes", modes),
    ("times", times),
    ("holes", holes),
    ("appends of two handles", appends),
    ("truncation at open", truncation_at_open),
    ("many entries", many_entries),
    ("sockets", sockets),
];

/// Makes an error of what is not so.
fn expect(is_so: bool, what: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(what.to_owned()) }
}

/// Makes an error of an answer that is another error than `errno`, or none.
fn expect_errno<T>(answer: io::Result<T>, errno: i32, what: &str) -> Result<(), String> {
    match answer {
        Err(error) if error.raw_os_error() == Some(errno) => Ok(()),
        Err(error) => Err(format!("{what}: {error}")),
        Ok(_) => Err(format!("{what}: it worked")),
    }
}

/// An error with the operation that failed.
fn at<T>(what: &str, answer: io::Result<T>) -> Result<T, String> {
    answer.map_err(|error| format!("{what}: {error}"))
}

fn removed_while_open(folder: &Path) -> Result<(), String> {
    let path = folder.join("file");
    at("write", fs::write(&path, "kept"))?;
    let options = OpenOptions::new().read(true).write(true).open(&path);
    let file = at("open", options)?;
    at("remove", fs::remove_file(&path))?;
    let mut bytes = [0; 4];
    at("read", file.read_exact_at(&mut bytes, 0))?;
    expect(&bytes == b"kept", "it reads something else")?;
    at("write", file.write_all_at(b"more", 4))?;
    let found = at("stat", file.metadata())?;
    expect(found.len() == 8, "its length is wrong")?;
    expect(found.nlink() == 0, "it has a name yet")?;
    at("make it again", fs::write(&path, "other"))?;
    at("read", file.read_exact_at(&mut bytes, 4))?;
    expect(&bytes == b"more", "it is the file that came after it")
}

fn rename_onto_a_file(folder: &Path) -> Result<(), String> {
    let (from, to) = (folder.join("from"), folder.join("to"));
    at("write", fs::write(&from, "new"))?;
    at("write", fs::write(&to, "old"))?;
    let mut old = at("open", File::open(&to))?;
    at("rename", fs::rename(&from, &to))?;
    let mut text = String::new();
    at("read", old.read_to_string(&mut text))?;
    expect(text == "old", "the open one has changed")?;
    let text = at("read", fs::read_to_string(&to))?;
    expect(text == "new", "the other is not in its place")?;
    expect_errno(fs::metadata(&from), libc::ENOENT, "the old name")?;
    at("mkdir", fs::create_dir(&from))?;
    expect_errno(
        fs::rename(&from, &to),
        libc::ENOTDIR,
        "a directory onto a file",
    )?;
    expect_errno(
        fs::rename(&to, &from),
        libc::EISDIR,
        "a file onto a directory",
    )
}

fn rename_of_directories(folder: &Path) -> Result<(), String> {
    let (outer, inner) = (folder.join("outer"), folder.join("outer/inner"));
    at("mkdir", fs::create_dir_all(&inner))?;
    at("write", fs::write(inner.join("file"), "x"))?;
    let into_itself = fs::rename(&outer, inner.join("outer"));
    expect_errno(into_itself, libc::EINVAL, "into itself")?;
    let moved = folder.join("moved");
    at("rename", fs::rename(&inner, &moved))?;
    at("read", fs::read(moved.join("file")))?;
    at("mkdir", fs::create_dir(&inner))?;
    at("onto an empty one", fs::rename(&moved, &inner))?;
    at("read", fs::read(inner.join("file"))).map(drop)
}

fn hard_links(folder: &Path) -> Result<(), String> {
    let (one, two) = (folder.join("one"), folder.join("two"));
    at("write", fs::write(&one, "same"))?;
    at("link", fs::hard_link(&one, &two))?;
    let (first, second) = (
        at("stat", fs::metadata(&one))?,
        at("stat", fs::metadata(&two))?,
    );
    expect(first.ino() == second.ino(), "they are two inodes")?;
    expect(second.nlink() == 2, "the count of links is wrong")?;
    at("write", fs::write(&two, "changed"))?;
    let text = at("read", fs::read_to_string(&one))?;
    expect(text == "changed", "one has other content than the other")?;
    at("remove", fs::remove_file(&one))?;
    let left = at("stat", fs::metadata(&two))?;
    expect(left.nlink() == 1, "the count of links stays")?;
    expect_errno(
        fs::hard_link(folder, folder.join("x")),
        libc::EPERM,
        "of a directory",
    )
}

fn symbolic_links(folder: &Path) -> Result<(), String> {
    let link = folder.join("link");
    at("symlink", symlink("target/of it", &link))?;
    let target = at("readlink", fs::read_link(&link))?;
    expect(target == Path::new("target/of it"), "it leads elsewhere")?;
    let found = at("lstat", fs::symlink_metadata(&link))?;
    expect(
        found.is_symlink() && found.len() == 12,
        "its length is wrong",
    )?;
    expect_errno(fs::read(&link), libc::ENOENT, "a dangling one")?;
    at("mkdir", fs::create_dir(folder.join("target")))?;
    at("write through it", fs::write(&link, "x"))?;
    at("read", fs::read(folder.join("target/of it")))?;
    at("symlink", symlink("loop", folder.join("loop")))?;
    expect_errno(fs::read(folder.join("loop")), libc::ELOOP, "a loop")
}

fn names(folder: &Path) -> Result<(), String> {
    let longest = folder.join("x".repeat(255));
    at("a name of 255 bytes", fs::write(&longest, ""))?;
    let longer = folder.join("x".repeat(256));
    expect_errno(fs::write(longer, ""), libc::ENAMETOOLONG, "256 bytes")?;
    let odd = folder.join("a \n\t*\u{7f}\u{e9}..");
    at("an odd name", fs::write(&odd, "odd"))?;
    let mut entries = at("readdir", fs::read_dir(folder))?;
    expect(
        entries.any(|entry| entry.is_ok_and(|entry| entry.path() == odd)),
        "an odd name is not listed",
    )?;
    let below = fs::write(longest.join("file"), "");
    expect_errno(below, libc::ENOTDIR, "a file below a file")
}

fn exclusive(folder: &Path) -> Result<(), String> {
    let path = folder.join("file");
    at("create", File::create_new(&path))?;
    expect_errno(File::create_new(&path), libc::EEXIST, "a file")?;
    expect_errno(fs::create_dir(&path), libc::EEXIST, "a directory")?;
    expect_errno(symlink("x", &path), libc::EEXIST, "a link")
}

fn not_empty(folder: &Path) -> Result<(), String> {
    let dir = folder.join("dir");
    at("mkdir", fs::create_dir(&dir))?;
    at("write", fs::write(dir.join("file"), ""))?;
    expect_errno(fs::remove_dir(&dir), libc::ENOTEMPTY, "rmdir")?;
    expect_errno(fs::remove_file(&dir), libc::EISDIR, "unlink")?;
    expect_errno(
        fs::remove_dir(dir.join("file")),
        libc::ENOTDIR,
        "rmdir of a file",
    )?;
    at("remove", fs::remove_file(dir.join("file")))?;
    at("rmdir", fs::remove_dir(&dir))
}

fn modes(folder: &Path) -> Result<(), String> {
    let path = folder.join("file");
    at("write", fs::write(&path, ""))?;
    for mode in [0o600, 0o4755, 0o1777, 0o0, 0o644] {
        at(
            "chmod",
            fs::set_permissions(&path, Permissions::from_mode(mode)),
        )?;
        let found = at("stat", fs::metadata(&path))?.mode() & 0o7777;
        expect(found == mode, &format!("{mode:o} became {found:o}"))?;
    }
    let dir = folder.join("dir");
    at("mkdir", fs::create_dir(&dir))?;
    let found = at("stat", fs::metadata(&dir))?;
    expect(
        found.is_dir() && found.mode() & 0o777 == 0o755,
        "the umask is not kept",
    )
}

fn times(folder: &Path) -> Result<(), String> {
    let path = folder.join("file");
    at("write", fs::write(&path, ""))?;
    let then = UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let file = at("open", OpenOptions::new().write(true).open(&path))?;
    at("set", file.set_modified(then))?;
    let found = at("stat", fs::metadata(&path))?;
    expect(found.mtime() == 1_000_000_000, "the second is another")?;
    expect(
        found.mtime_nsec() / 1000 == 123_456,
        "the microsecond is another",
    )?;
    at("write", file.write_all_at(b"x", 0))?;
    let found = at("stat", fs::metadata(&path))?;
    expect(found.mtime() > 1_000_000_000, "a write does not change it")
}

fn holes(folder: &Path) -> Result<(), String> {
    let path = folder.join("file");
    let mut file = at("create", File::create(&path))?;
    at("write", file.write_all_at(b"end", 1 << 32))?;
    let found = at("stat", fs::metadata(&path))?;
    expect(found.len() == (1 << 32) + 3, "its length is wrong")?;
    let opened = at("open", File::open(&path))?;
    let mut bytes = [1; 100];
    at("read", opened.read_exact_at(&mut bytes, 1 << 31))?;
    expect(bytes == [0; 100], "the hole is not zero")?;
    at("truncate", file.set_len(10))?;
    at("grow", file.set_len(20))?;
    at("write", file.write_all(b"abc"))?;
    let all = at("read", fs::read(&path))?;
    expect(
        all == [&b"abc"[..], &[0; 17]].concat(),
        "what was cut off came back",
    )
}

fn appends(folder: &Path) -> Result<(), String> {
    let path = folder.join("file");
    let open = || OpenOptions::new().append(true).create(true).open(&path);
    let (mut one, mut two) = (at("open", open())?, at("open", open())?);
    for _ in 0..10 {
        at("append", one.write_all(b"one "))?;
        at("append", two.write_all(b"two "))?;
    }
    let text = at("read", fs::read_to_string(&path))?;
    expect(text == "one two ".repeat(10), "some are lost")
}

fn truncation_at_open(folder: &Path) -> Result<(), String> {
    let path = folder.join("file");
    at("write", fs::write(&path, "long content"))?;
    let reader = at("open", File::open(&path))?;
    at("write", fs::write(&path, "s"))?;
    let found = at("stat", reader.metadata())?;
    expect(found.len() == 1, "another handle sees the old length")?;
    let all = at("read", fs::read(&path))?;
    expect(all == b"s", "old content is left")
}

fn many_entries(folder: &Path) -> Result<(), String> {
    for number in 0..500 {
        at(
            "create",
            File::create(folder.join(format!("entry-{number:04}"))),
        )?;
    }
    let mut seen = 0;
    for entry in at("readdir", fs::read_dir(folder))? {
        let entry = at("an entry", entry)?;
        seen += 1;
        at("remove", fs::remove_file(entry.path()))?;
    }
    expect(
        seen == 500,
        &format!("{seen} of 500 are listed while they are removed"),
    )?;
    let left = at("readdir", fs::read_dir(folder))?.count();
    expect(left == 0, &format!("{left} are left"))
}

fn sockets(folder: &Path) -> Result<(), String> {
    let path = folder.join("socket");
    let listener = at("bind", UnixListener::bind(&path))?;
    let connected = UnixStream::connect(&path);
    at("connect", connected)?;
    at("accept", listener.accept()).map(drop)
}
