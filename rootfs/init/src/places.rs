//! Directories that the job asks for: the image's volumes, file systems in memory, and where the
//! workload begins.

use std::ffi::{CString, c_ulong};

use crate::exit::{Failure, Stage};
use crate::failure::At;
use crate::files::make_directory;
use crate::job::{Job, Tmpfs};
use crate::sys::{self, Result, mount};

/// What docker gives a `--tmpfs` that says nothing.
const DEFAULT_FLAGS: c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// Makes volumes, then mounts what goes on top; then the working directory, which nobody can make
/// once the root is sealed.
pub fn make(job: &Job) -> std::result::Result<(), Failure> {
    for path in &job.volumes {
        make_volume(path, job.read_only).at(Stage::Volume, path)?;
    }
    for tmpfs in &job.tmpfs {
        mount_tmpfs(tmpfs).at(Stage::Volume, &tmpfs.path)?;
    }
    let cwd = &job.process.cwd;
    make_directory(cwd).at(Stage::Workdir, cwd).map(drop)
}

/// A volume is a directory of the root; where the root will be sealed, it becomes a mount of its
/// own, which stays writable.
fn make_volume(path: &[u8], apart: bool) -> Result<()> {
    make_directory(path)?;
    if apart {
        let path = sys::string(path)?;
        mount::mount(&path, &path, c"none", libc::MS_BIND, None)?;
    }
    Ok(())
}

fn mount_tmpfs(wanted: &Tmpfs) -> Result<()> {
    make_directory(&wanted.path)?;
    let (flags, data) = parse_options(&wanted.options);
    let data: Option<CString> = (!data.is_empty()).then(|| sys::string(&data)).transpose()?;
    let path = sys::string(&wanted.path)?;
    mount::mount(c"tmpfs", &path, c"tmpfs", flags, data.as_deref())
}

/// Options as `mount(8)` writes them: those that the kernel wants as flags, and the rest.
fn parse_options(options: &[u8]) -> (c_ulong, Vec<u8>) {
    let mut flags = DEFAULT_FLAGS;
    let mut data: Vec<&[u8]> = Vec::new();
    for option in options
        .split(|byte| *byte == b',')
        .filter(|option| !option.is_empty())
    {
        let (set, clear) = match option {
            b"ro" => (libc::MS_RDONLY, 0),
            b"rw" | b"defaults" => (0, libc::MS_RDONLY),
            b"noexec" => (libc::MS_NOEXEC, 0),
            b"exec" => (0, libc::MS_NOEXEC),
            b"nosuid" => (libc::MS_NOSUID, 0),
            b"suid" => (0, libc::MS_NOSUID),
            b"nodev" => (libc::MS_NODEV, 0),
            b"dev" => (0, libc::MS_NODEV),
            b"noatime" => (libc::MS_NOATIME, 0),
            b"sync" => (libc::MS_SYNCHRONOUS, 0),
            other => {
                data.push(other);
                continue;
            }
        };
        flags = (flags | set) & !clear;
    }
    (flags, data.join(&b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags_and_data() {
        assert_eq!(parse_options(b""), (DEFAULT_FLAGS, Vec::new()));
        let (flags, data) = parse_options(b"rw,exec,size=64m,mode=1777,ro");
        assert_eq!(flags, libc::MS_NOSUID | libc::MS_NODEV | libc::MS_RDONLY);
        assert_eq!(data, b"size=64m,mode=1777");
    }
}
