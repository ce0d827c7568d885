//! Whether a folder behaves as POSIX says a file system does: `--verify DIR SEED STEPS`.
//!
//! First the cases that have a name ([`cases`]), then random operations on one file beside a model of it
//! in memory ([`content`]), the same for the same seed. Each difference is one line on stderr; exit
//! status 0 means that there was none, and 2 that the words were not understood.

mod cases;
mod content;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Puts the folder that `words` name to the test.
pub fn run(words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.collect();
    let number = |word: &OsString| word.to_str().and_then(|text| text.parse().ok());
    let (dir, seed, steps): (&OsString, u64, u64) = match &words[..] {
        [dir, seed, steps] => match (number(seed), number(steps)) {
            (Some(seed), Some(steps)) => (dir, seed, steps),
            _ => return ExitCode::from(2),
        },
        _ => return ExitCode::from(2),
    };
    let mut differences = 0;
    let mut tell = |what: &str, why: String| {
        differences += 1;
        // A closed stderr is no reason for another exit status.
        let _closed = writeln!(io::stderr(), "husk-probe: {what}: {why}");
    };
    for (name, case) in cases::ALL {
        if let Err(why) = in_a_folder(Path::new(dir), *case) {
            tell(name, why);
        }
    }
    if let Err(why) = in_a_folder(Path::new(dir), |folder| {
        content::compare(folder, seed, steps)
    }) {
        tell("random operations", why);
    }
    if differences == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Does `work` in a new folder below `dir`, and removes that.
fn in_a_folder(dir: &Path, work: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    let folder: PathBuf = dir.join("husk-verify");
    fs::create_dir(&folder).map_err(|error| format!("cannot make a folder: {error}"))?;
    let done = work(&folder);
    let removed = fs::remove_dir_all(&folder);
    done.and_then(|()| removed.map_err(|error| format!("cannot remove the folder: {error}")))
}
