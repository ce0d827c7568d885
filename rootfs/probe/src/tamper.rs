//! Tries to change this program's own file. It is to be read-only behind every wall, or one measurement
//! could spoil the next; `--tamper`, which the usage does not name, proves it from where it counts.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A way to change a file.
type Way = (&'static str, fn(&Path) -> io::Result<()>);

const WAYS: [Way; 5] = [
    ("write", |file| {
        File::options().write(true).open(file).map(drop)
    }),
    ("truncate", |file| File::create(file).map(drop)),
    ("chmod", |file| {
        fs::set_permissions(file, Permissions::from_mode(0o777))
    }),
    ("rename", |file| {
        fs::rename(file, file.with_extension("old"))
    }),
    ("unlink", |file| fs::remove_file(file)),
];

/// Tries every way on the file that this program was called by, one line each; whether all of them were
/// refused.
pub fn is_refused(called: Option<OsString>, out: &mut impl Write) -> io::Result<bool> {
    let file = called.ok_or(io::ErrorKind::NotFound)?;
    let mut refused = true;
    for (name, change) in WAYS {
        match change(Path::new(&file)) {
            Ok(()) => {
                refused = false;
                writeln!(out, "{name}: done")?;
            }
            Err(error) => writeln!(out, "{name}: {error}")?,
        }
    }
    Ok(refused)
}
