//! Every path of a file system and what is there, and how two such lists differ.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;

use super::reach::Reach;

/// What no snapshot has, because an engine writes it and no two engines alike: its devices, its files, and
/// this program.
const ENGINES: [&[u8]; 5] = [
    b"/dev",
    b"/etc/hosts",
    b"/etc/hostname",
    b"/etc/resolv.conf",
    b"/.husk-probe",
];

/// File systems that show the kernel and keep nothing.
const PSEUDO: [&str; 15] = [
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "mqueue",
    "proc",
    "pstore",
    "securityfs",
    "sysfs",
    "tracefs",
];

/// What there is at a path: some 100 bytes, because an image may have a hundred thousand of them.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    /// Kind and permissions, as in stat(2).
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Bytes of a file.
    pub size: u64,
    /// Where a symbolic link leads.
    pub target: Option<Box<[u8]>>,
    modified: (i64, i64),
    touched: (i64, i64),
    inode: u64,
}

/// What kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Something else, by its word.
    Special(&'static str),
}

impl Kind {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Link => "link",
            Self::Special(name) => name,
        }
    }
}

impl State {
    /// What kind of thing it is.
    pub fn kind(&self) -> Kind {
        match self.mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Link,
            libc::S_IFCHR => Kind::Special("character device"),
            libc::S_IFBLK => Kind::Special("block device"),
            libc::S_IFIFO => Kind::Special("fifo"),
            _ => Kind::Special("socket"),
        }
    }

    fn new(metadata: &Metadata, path: &[u8]) -> Self {
        let link = metadata.is_symlink().then(|| Reach::to(path).ok());
        let target = link.flatten().and_then(|r| fs::read_link(r.path()).ok());
        Self {
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            size: metadata.size(),
            target: target.map(|target| target.into_os_string().into_vec().into()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            touched: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// A directory changes its times and its size by what is in it, which is told by itself, and an
    /// overlay may give it another inode whenever it likes.
    fn is_like(&self, other: &Self) -> bool {
        if self.kind() == Kind::Directory {
            (self.mode, self.uid, self.gid) == (other.mode, other.uid, other.gid)
        } else {
            self == other
        }
    }
}

/// All of it, sorted by path.
#[derive(Debug, Default)]
pub struct Snapshot(Vec<(Box<[u8]>, State)>);

impl Snapshot {
    /// Looks at everything from `root` on. What may not be read, or vanishes meanwhile, is not there.
    pub fn take(root: &[u8]) -> Self {
        let left_out = left_out(&fs::read("/proc/self/mountinfo").unwrap_or_default());
        let mut entries: Vec<(Box<[u8]>, _)> = Vec::new();
        if let Ok(metadata) = fs::symlink_metadata(OsStr::from_bytes(root)) {
            entries.push((root.into(), State::new(&metadata, root)));
        }
        let mut folders = vec![root.to_vec()];
        while let Some(folder) = folders.pop() {
            let Ok(reach) = Reach::to(&folder) else {
                continue;
            };
            for entry in fs::read_dir(reach.path()).into_iter().flatten().flatten() {
                let path = join(&folder, entry.file_name().as_bytes());
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                if left_out.contains(&path) {
                    continue;
                }
                entries.push((path.as_slice().into(), State::new(&metadata, &path)));
                if metadata.is_dir() {
                    folders.push(path);
                }
            }
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Self(entries)
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    [folder, b"/", name].concat()
}

/// The engine's, and the places where a pseudo file system is mounted by proc_pid_mountinfo(5).
fn left_out(mounts: &[u8]) -> BTreeSet<Vec<u8>> {
    let mounts = mounts.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let place = fields.nth(4)?;
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        let is_pseudo = PSEUDO.iter().any(|name| name.as_bytes() == kind);
        is_pseudo.then(|| unescape(place))
    });
    mounts.chain(ENGINES.map(<[u8]>::to_vec)).collect()
}

/// A space, tab, newline or backslash is `\` and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\');
        let code = code.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    bytes
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It is not what it was.
    Changed,
}

impl How {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// A difference between two snapshots.
#[derive(Debug)]
pub struct Change<'a> {
    /// Where.
    pub path: &'a [u8],
    /// What happened.
    pub how: How,
    /// What is there now, or was there.
    pub state: &'a State,
}

/// Tells every difference, sorted by path; the first error ends it.
pub fn compare<E>(
    before: &Snapshot,
    after: &Snapshot,
    mut tell: impl FnMut(Change<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut old = before.0.iter().peekable();
    let mut new = after.0.iter().peekable();
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some((was, _)), Some((is, _))) => was.cmp(is),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(()),
        };
        let was = old.next_if(|_| order.is_le());
        let is = new.next_if(|_| order.is_ge());
        let change = match (was, is) {
            (Some((_, was)), Some((_, is))) if was.is_like(is) => None,
            (Some(_), Some((path, state))) => Some((path, How::Changed, state)),
            (None, Some((path, state))) => Some((path, How::Added, state)),
            (Some((path, state)), None) => Some((path, How::Removed, state)),
            (None, None) => None,
        };
        if let Some((path, how, state)) = change {
            tell(Change { path, how, state })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    fn take(root: &Path) -> Snapshot {
        Snapshot::take(root.as_os_str().as_bytes())
    }

    /// The differences, a line each, without `root`.
    fn differences(root: &Path, before: &Snapshot, after: &Snapshot) -> Vec<String> {
        let mut lines = Vec::new();
        compare(before, after, |change| {
            let path = Path::new(OsStr::from_bytes(change.path));
            let path = path.strip_prefix(root).unwrap().display().to_string();
            let kind = change.state.kind().name();
            lines.push(format!("{path} {} {kind}", change.how.name()));
            Ok::<_, ()>(())
        })
        .unwrap();
        lines
    }

    #[test]
    fn what_changed_is_told_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["same", "gone", "written", "mode", "becomes"] {
            fs::write(at(name), "old").unwrap();
        }
        fs::create_dir_all(at("dir/deep")).unwrap();
        fs::create_dir(at("closed")).unwrap();
        symlink("a", at("link")).unwrap();
        let before = take(folder.path());
        std::thread::sleep(super::super::TICK);
        fs::remove_file(at("gone")).unwrap();
        // As long as before.
        fs::write(at("written"), "new").unwrap();
        fs::set_permissions(at("mode"), Permissions::from_mode(0o4755)).unwrap();
        fs::remove_file(at("becomes")).unwrap();
        fs::create_dir(at("becomes")).unwrap();
        fs::write(at("dir/deep/new"), "").unwrap();
        fs::set_permissions(at("closed"), Permissions::from_mode(0o700)).unwrap();
        fs::remove_file(at("link")).unwrap();
        symlink("b", at("link")).unwrap();
        let expected = [
            "becomes changed directory",
            "closed changed directory",
            "dir/deep/new added file",
            "gone removed file",
            "link changed link",
            "mode changed file",
            "written changed file",
        ];
        let after = take(folder.path());
        assert_eq!(differences(folder.path(), &before, &after), expected);
        let again = take(folder.path());
        assert!(differences(folder.path(), &after, &again).is_empty());
    }

    #[test]
    fn no_depth_is_too_deep() {
        let folder = tempfile::tempdir().unwrap();
        let name = "d".repeat(200);
        let mut path = folder.path().as_os_str().as_bytes().to_vec();
        for _ in 0..60 {
            path = join(&path, name.as_bytes());
            fs::create_dir(Reach::to(&path).unwrap().path()).unwrap();
        }
        let before = take(folder.path());
        let file = join(&path, b"file");
        fs::write(Reach::to(&file).unwrap().path(), "x").unwrap();
        let link = join(&path, b"link");
        symlink("there", Reach::to(&link).unwrap().path()).unwrap();
        let after = take(folder.path());
        assert_eq!(after.0.len(), before.0.len() + 2);
        let (last, state) = after.0.last().unwrap();
        assert_eq!(**last, *link);
        assert_eq!(state.target.as_deref(), Some(&b"there"[..]));
        assert!(super::super::content::hash(&file).is_some());
    }

    #[test]
    fn engines_files_and_pseudo_file_systems_are_left_out() {
        let mounts = b"24 30 0:22 / / rw - overlay overlay rw\n\
            25 24 0:23 / /proc rw,nosuid shared:5 master:1 - proc proc rw\n\
            26 24 0:24 / /a\\040b rw - cgroup2 none rw\n\
            27 24 0:25 / /data rw - tmpfs proc rw\n\
            broken\n";
        let places = left_out(mounts);
        for place in ["/proc", "/a b", "/dev", "/etc/hosts", "/.husk-probe"] {
            assert!(places.contains(place.as_bytes()), "{place}");
        }
        assert!(!places.contains(&b"/data"[..]) && !places.contains(&b"/"[..]));
        assert_eq!(unescape(br"a\134b\11"), br"a\b\11");
    }
}
