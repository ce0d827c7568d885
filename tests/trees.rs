//! An image's tree in a directory, against what `umoci unpack` makes of it: as root, and as ordinary users in
//! user namespaces of one number and of many. This binary is also what runs in those namespaces.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use husk::image::{Image, Lack, Limits, Source, Store, Unpacked, Why};
use rustix::process::geteuid;
use serde_json::{Value, json};
use tempfile::TempDir;

const BUSYBOX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs/busybox/busybox.tar");
const LISTING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/black_box/listing.py");

/// A user of the host who is nobody in particular.
const USER: u32 = 65_534;

/// Owners that a user namespace of many numbers has: root and the first ones, but not all.
const MANY: &str = "0 65534 1\n1 200000 999\n";

/// Tells this binary in a namespace what to do there: `tree` or `prune`.
const ORDER: &str = "HUSK_TEST_ORDER";
const HOME: &str = "HUSK_TEST_HOME";

/// Says what is not tested, and why: past the harness, which shows only failures.
fn skip(reason: &str) {
    let _closed = writeln!(io::stderr(), "skipped: {reason}");
}

fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        skip("needs root");
    }
    root
}

fn tool(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: run tests/all once"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    output.stdout
}

/// Where `rootfs/debian/build.sh` puts its image of everything that a layer can have.
fn entries() -> &'static Path {
    static ENTRIES: OnceLock<PathBuf> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
        let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs/debian/build.sh");
        tool(recipe, &[folder.to_str().unwrap()]);
        folder.join("entries")
    })
}

type Listing = BTreeMap<String, Value>;

/// Lines of `listing.py`, by path.
fn by_path(listing: &[u8]) -> Listing {
    let lines = listing.split(|byte| *byte == b'\n');
    lines
        .filter(|line| line.starts_with(b"{"))
        .map(|line| {
            let value: Value = serde_json::from_slice(line).unwrap();
            (value["path"].as_str().unwrap().to_owned(), value)
        })
        .collect()
}

fn list(script: &Path, root: &Path) -> Vec<u8> {
    tool(
        "python3",
        &[script.to_str().unwrap(), root.to_str().unwrap()],
    )
}

/// What umoci makes of the image, as root.
fn expected() -> &'static Listing {
    static EXPECTED: OnceLock<Listing> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        let image = format!("{}:latest", entries().display());
        let unpack = ["unpack", "--image", &image, bundle.to_str().unwrap()];
        tool("umoci", &unpack);
        by_path(&list(Path::new(LISTING), &bundle.join("rootfs")))
    })
}

fn compare(found: &Listing, expected: &Listing) {
    for (path, entry) in expected {
        assert_eq!(found.get(path), Some(entry), "{path:?}");
    }
    for path in found.keys() {
        assert!(expected.contains_key(path), "{path:?} is too many");
    }
}

/// A store with one image.
struct Home {
    folder: TempDir,
    image: Image,
}

impl Home {
    fn with(image: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let source = Source::of_path(image.to_owned());
        let image = store.load(source, &Limits::default()).unwrap().remove(0);
        Self { folder, image }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn store(&self) -> Store {
        Store::open(&self.path()).unwrap()
    }

    fn tree(&self) -> Unpacked {
        self.store().tree(&self.image).unwrap()
    }

    fn forget(&self) {
        self.store().remove(&self.image.id.hex()).unwrap();
    }

    fn count(&self, folder: &str) -> usize {
        fs::read_dir(self.path().join(folder)).unwrap().count()
    }

    /// Gives the store to the user, and copies of this binary and of its script beside it.
    fn give_away(&self) {
        let beside = |name: &str| self.folder.path().join(name);
        fs::copy(env::current_exe().unwrap(), beside("trees")).unwrap();
        fs::copy(LISTING, beside("listing.py")).unwrap();
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.folder.path(), all.clone()).unwrap();
        fs::set_permissions(beside("trees"), all).unwrap();
        if geteuid().is_root() {
            let user = format!("{USER}:{USER}");
            tool("chown", &["-R", &user, self.path().to_str().unwrap()]);
        }
    }

    /// A command by which the user runs this binary, behind the words of `wrapper`.
    fn ask(&self, order: &str, wrapper: &[&str]) -> Command {
        let (user, binary) = (USER.to_string(), self.folder.path().join("trees"));
        let drop = [
            "setpriv",
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
        ];
        let test = ["--exact", "in_a_namespace", "--nocapture"];
        let words = if geteuid().is_root() { &drop[..] } else { &[] };
        let words = [words, wrapper, &[binary.to_str().unwrap()], &test].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env(ORDER, order);
        command.env(HOME, self.path()).current_dir("/");
        command
    }

    /// The same in a user namespace with these numbers, which root gives.
    fn ask_with_map(&self, order: &str, map: &str) -> Output {
        let wait = [
            "unshare",
            "-U",
            "sh",
            "-c",
            "echo up; read go; exec \"$@\"",
            "sh",
        ];
        let mut command = self.ask(order, &wait);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        for file in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{file}", child.id()), map).unwrap();
        }
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut stdout = Vec::new();
        io::copy(&mut out, &mut stdout).unwrap();
        Output {
            status: child.wait().unwrap(),
            stdout,
            stderr: Vec::new(),
        }
    }
}

/// Not a test by itself: the half of one that an ordinary user runs.
#[test]
fn in_a_namespace() {
    let Ok(order) = env::var(ORDER) else { return };
    let home = PathBuf::from(env::var_os(HOME).unwrap());
    let store = Store::open(&home).unwrap();
    if order == "prune" {
        let left = store.prune().unwrap().left;
        println!("\nleft: {left:?}");
        left.iter().for_each(|left| println!("{left}"));
        return;
    }
    let image = store.images().unwrap().remove(0);
    let unpacked = store.tree(&image).unwrap();
    println!("\nroot: {}", unpacked.path.display());
    for kind in [Lack::Owner, Lack::SetId, Lack::Device, Lack::Attribute] {
        let count = unpacked
            .shortfall
            .of(kind)
            .map_or(0, |lacking| lacking.count);
        println!("{kind:?}: {count}");
    }
    let listing = list(&home.with_file_name("listing.py"), &unpacked.path);
    io::stdout().write_all(&listing).unwrap();
}

/// Number behind `word: ` in what the other half said.
fn said(output: &Output, word: &str) -> usize {
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(word)?.strip_prefix(": "));
    found
        .unwrap_or_else(|| panic!("{word}: {text}"))
        .parse()
        .unwrap()
}

/// What of an entry is left where only `owners` have numbers; and what is lost with it.
fn lessen(
    entry: &Value,
    is_mapped: impl Fn(u64) -> bool,
    lost: &mut BTreeMap<&str, usize>,
) -> Option<Value> {
    if entry["device"].is_array() {
        *lost.entry("Device").or_default() += 1;
        return None;
    }
    let mut less = entry.clone();
    let count = |known: bool| usize::from(!known);
    let known = [0, 1].map(|n| is_mapped(entry["owner"][n].as_u64().unwrap()));
    let once = usize::from(entry["same"].is_null() || entry["same"] == entry["path"]);
    *lost.entry("Owner").or_default() += count(known[0] && known[1]) * once;
    let text = entry["mode"].as_str().unwrap().trim_start_matches("0o");
    let mut mode = u32::from_str_radix(text, 8).unwrap();
    for (n, bit) in [(0, 0o4000), (1, 0o2000)] {
        if !known[n] {
            less["owner"][n] = json!(0);
            // Of a regular file: it has a size.
            if !entry["size"].is_null() {
                mode &= !bit;
            }
        }
    }
    less["mode"] = json!(format!("0o{mode:o}"));
    let xattrs = less["xattrs"].as_object_mut().unwrap();
    let before = xattrs.len();
    xattrs.retain(|name, _| name.starts_with("user.") || name == "security.capability");
    *lost.entry("Attribute").or_default() += (before - xattrs.len()) * once;
    Some(less)
}

fn compare_lessened(output: &Output, is_mapped: impl Fn(u64) -> bool) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let mut lost = BTreeMap::new();
    let less = expected().iter().filter_map(|(path, entry)| {
        let less = lessen(entry, &is_mapped, &mut lost)?;
        Some((path.clone(), less))
    });
    let less: Listing = less.collect();
    compare(&by_path(&output.stdout), &less);
    for (word, count) in lost {
        assert_eq!(said(output, word), count, "{word}");
    }
}

#[test]
fn every_entry_is_what_umoci_makes_of_it() {
    if !is_root() {
        return;
    }
    let home = Home::with(entries());
    let unpacked = home.tree();
    assert!(unpacked.shortfall.is_empty(), "{:?}", unpacked.shortfall);
    let found = by_path(&list(Path::new(LISTING), &unpacked.path));
    assert!(found.len() > 5000, "{} entries", found.len());
    compare(&found, expected());
    let closed = fs::metadata(home.path().join("trees")).unwrap();
    assert_eq!(closed.mode() & 0o777, 0o700);
}

#[test]
fn an_ordinary_user_keeps_what_one_number_allows() {
    if !is_root() {
        return;
    }
    let home = Home::with(entries());
    home.give_away();
    let output = home
        .ask("tree", &["unshare", "-U", "true"])
        .output()
        .unwrap();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return skip(&format!("no user namespaces for ordinary users: {why}"));
    }
    let output = home.ask("tree", &["unshare", "-Ur"]).output().unwrap();
    compare_lessened(&output, |id| id == 0);
    // All of it is the user's own, so that no namespace is needed to remove it.
    home.forget();
    let pruned = home.ask("prune", &[]).output().unwrap();
    let text = String::from_utf8_lossy(&pruned.stdout);
    assert!(text.contains("left: []"), "{text}");
    assert_eq!((home.count("trees"), home.count("tmp")), (0, 0));
}

#[test]
fn many_numbers_keep_owners_and_are_needed_to_remove_them() {
    if !is_root() {
        return;
    }
    let home = Home::with(entries());
    home.give_away();
    let output = home.ask_with_map("tree", MANY);
    compare_lessened(&output, |id| id < 1000);
    home.forget();
    let pruned = home.ask("prune", &[]).output().unwrap();
    let text = String::from_utf8_lossy(&pruned.stdout);
    assert!(
        text.contains("prune in that namespace, or as root"),
        "{text}"
    );
    let pruned = home.ask_with_map("prune", MANY);
    let text = String::from_utf8_lossy(&pruned.stdout);
    assert!(text.contains("left: []"), "{text}");
    assert_eq!((home.count("trees"), home.count("tmp")), (0, 0));
}

#[test]
fn many_at_once_make_one_tree() {
    let home = Home::with(Path::new(BUSYBOX));
    let paths: Vec<PathBuf> = thread::scope(|scope| {
        let started: Vec<_> = (0..4).map(|_| scope.spawn(|| home.tree().path)).collect();
        started.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(paths.iter().all(|path| *path == paths[0]), "{paths:?}");
    assert_eq!((home.count("trees"), home.count("tmp")), (1, 0));
    assert!(paths[0].join("bin/busybox").exists());
}

#[test]
fn a_tree_goes_when_its_image_has_gone_and_nobody_uses_it() {
    let home = Home::with(Path::new(BUSYBOX));
    let (store, unpacked) = (home.store(), home.tree());
    assert_eq!(store.prune().unwrap().left, []);
    assert!(unpacked.path.exists(), "the image has a name");
    home.forget();
    let left = store.prune().unwrap().left;
    assert_eq!((left.len(), left[0].why), (1, Why::InUse));
    assert!(unpacked.path.exists());
    drop(unpacked);
    let reclaimed = store.prune().unwrap();
    assert!(reclaimed.bytes > 100_000, "{} bytes", reclaimed.bytes);
    assert_eq!(reclaimed.left, []);
    assert_eq!((home.count("trees"), home.count("tmp")), (0, 0));
}

#[test]
fn killed_at_any_moment_there_is_a_whole_tree_or_none() {
    let home = Home::with(Path::new(BUSYBOX));
    let mut binary = Command::new(env::current_exe().unwrap());
    let test = ["--exact", "in_a_namespace"];
    let binary = binary.args(test).env(ORDER, "tree").env(HOME, home.path());
    for delay in (0..40).step_by(4) {
        let mut child = binary
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        if home.path().join("trees").exists() && home.count("trees") > 0 {
            let unpacked = home.tree();
            assert!(unpacked.path.join("bin/busybox").exists());
            break;
        }
    }
    assert_eq!(home.store().prune().unwrap().left, []);
    assert_eq!(home.count("tmp"), 0);
}
