//! The house checks itself: floors, doors, unsafe's address, file heads and ceilings.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by floor. A room imports only from lower floors, or from itself.
const FLOORS: [(&str, u8); 20] = [
    ("sys", 0),
    ("timeline", 0),
    ("bucket", 0),
    ("shelf", 0),
    ("spec", 1),
    ("image", 2),
    ("volumes", 2),
    ("kvm", 2),
    ("machines", 2),
    ("net", 2),
    ("networks", 2),
    ("sessions", 2),
    ("boot", 3),
    ("devices", 3),
    ("vmm", 4),
    ("container", 4),
    ("run", 5),
    ("compare", 6),
    ("cli", 7),
    ("main", 7),
];

/// Where `unsafe` may stand.
const UNSAFE_ROOMS: [&str; 5] = [
    "src/sys/",
    "src/kvm/",
    "rootfs/init/src/sys/",
    "rootfs/init/src/main.rs",
    "rootfs/probe/src/sys/",
];

/// Third-party crates with exactly one door: the file, or files below the folder, that may name it.
const DOORS: [(&str, &str); 15] = [
    ("iced_x86", "src/kvm/assist/"),
    ("oci_spec", "src/image/manifest"),
    ("tar", "src/image/"),
    ("flate2", "src/image/compress.rs"),
    ("zstd", "src/image/compress.rs"),
    ("sha2", "src/image/digest.rs"),
    ("signal_hook", "src/sys/signals.rs"),
    ("linux_loader", "src/boot/"),
    ("libcontainer", "src/container/embedded.rs"),
    ("seccompiler", "src/container/seccomp.rs"),
    ("acpi_tables", "src/boot/acpi.rs"),
    ("clap", "src/cli/"),
    ("clap_complete", "src/cli/completion.rs"),
    ("clap_mangen", "src/cli/man.rs"),
    ("toml", "src/cli/settings.rs"),
];

/// Most lines of a file, tests included.
const CEILING: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the product, with its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let packages = ["src", "rootfs/init/src", "rootfs/probe/src"];
    let mut folders: Vec<PathBuf> = packages.map(|folder| root().join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let name = path
                    .strip_prefix(root())
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(
        found.len() > 20,
        "the sources are where this test looks for them"
    );
    found.sort();
    found
}

/// `src/vmm/talk.rs` is in room `vmm`; the guest's packages are none of the rooms.
fn room(file: &str) -> Option<&str> {
    let below = file.strip_prefix("src/")?;
    let room = below.split(['/', '.']).next()?;
    (room != "lib").then_some(room)
}

/// Code without comments and without the tests at its end.
fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let lines = product
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// Rooms that `code` imports: `crate::room::…` and `use crate::{room::…}`.
fn imports(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = group.split(';').next().unwrap_or_default();
            rooms.extend(group.split(',').filter_map(first_word));
        } else {
            rooms.extend(first_word(rest));
        }
    }
    rooms
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_lowercase() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn rooms_import_only_from_lower_floors() {
    let floors: BTreeMap<_, _> = FLOORS.into();
    let mut broken = Vec::new();
    for (file, text) in sources() {
        let Some(room) = room(&file) else { continue };
        let Some(floor) = floors.get(room) else {
            broken.push(format!("{file}: room `{room}` has no floor"));
            continue;
        };
        for import in imports(&code(&text)) {
            match floors.get(import.as_str()) {
                Some(other) if import != room && other >= floor => {
                    broken.push(format!("{file}: `{room}` may not know `{import}`"));
                }
                _ => {}
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn each_crate_has_one_door() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        let code = code(&text);
        for (name, door) in DOORS {
            let named = code.match_indices(&format!("{name}::")).any(|(at, _)| {
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
            });
            if named && !file.starts_with(door) {
                broken.push(format!("{file}: {name} comes in through {door}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn unsafe_has_an_address() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        let used = code(&text)
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|w| w == "unsafe");
        if used && !UNSAFE_ROOMS.iter().any(|room| file.starts_with(room)) {
            broken.push(file);
        }
    }
    assert!(
        broken.is_empty(),
        "unsafe outside {UNSAFE_ROOMS:?}: {broken:?}"
    );
}

#[test]
fn files_begin_with_their_story_and_stay_small() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        if !text.starts_with("//!") {
            broken.push(format!("{file}: no `//!` at its head"));
        }
        let lines = text.lines().count();
        if lines > CEILING {
            broken.push(format!("{file}: {lines} lines, more than {CEILING}"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn names_say_what_things_are() {
    const FORBIDDEN: [&str; 6] = ["Manager", "Helper", "Util", "Common", "Impl", "do_"];
    let mut broken = Vec::new();
    for (file, text) in sources() {
        for line in code(&text).lines() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            while let Some(word) = words.next() {
                if !matches!(word, "struct" | "enum" | "trait" | "fn" | "mod" | "type") {
                    continue;
                }
                let name = words.next().unwrap_or_default();
                if FORBIDDEN
                    .iter()
                    .any(|bad| name.ends_with(bad) || name.starts_with(bad))
                {
                    broken.push(format!("{file}: {name}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_checks_can_fail() {
    assert_eq!(
        imports("use crate::{kvm::Vm, spec};\nlet x = crate::cli::main();"),
        ["kvm", "spec", "cli"]
    );
    assert_eq!(
        code("a // unsafe\n#[cfg(test)]\nmod tests { unsafe }"),
        "a "
    );
    assert_eq!(room("src/vmm/talk.rs"), Some("vmm"));
    assert_eq!(room("src/run.rs"), Some("run"));
}
