//! Places that the job asks for: the image's volumes, the host's files, file systems in memory, and
//! where the workload begins.

use std::ffi::{CStr, CString, c_ulong};

use crate::exit::{Failure, Stage};
use crate::failure::At;
use crate::files::{make_directory, make_file};
use crate::job::{Job, Share, Tmpfs};
use crate::sys::{self, Result, mount};

/// What docker gives a `--tmpfs` that says nothing.
const DEFAULT_FLAGS: c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// Where a job's shares come from: each wall has its own way to them.
pub trait Shares {
    /// Whether share `number` is a directory.
    fn is_directory(&self, number: usize) -> Result<bool>;
    /// Mounts it at `target`, which is there.
    fn mount(&self, number: usize, share: &Share, target: &CStr) -> Result<()>;
}

/// Something that is mounted.
enum Place<'j> {
    Volume(&'j [u8]),
    Memory(&'j Tmpfs),
    Share(usize, &'j Share),
}

impl<'j> Place<'j> {
    fn path(&self) -> &'j [u8] {
        match self {
            Self::Volume(path) => path,
            Self::Memory(tmpfs) => &tmpfs.path,
            Self::Share(_, share) => &share.path,
        }
    }

    fn make(&self, apart: bool, shares: &impl Shares) -> Result<()> {
        match self {
            Self::Volume(path) => make_volume(path, apart),
            Self::Memory(tmpfs) => mount_tmpfs(tmpfs),
            Self::Share(number, share) => mount_share(*number, share, shares),
        }
    }
}

/// Makes volumes, shares and file systems in memory, what is above before what is below, as docker does;
/// then the working directory, which nobody can make once the root is sealed.
pub fn make(job: &Job, shares: &impl Shares) -> std::result::Result<(), Failure> {
    // A sort would be the largest function of all init.
    let deepest = all_places(job).map(|place| depth(place.path())).max();
    for level in 0..=deepest.unwrap_or(0) {
        for place in all_places(job).filter(|place| depth(place.path()) == level) {
            let made = place.make(job.read_only, shares);
            made.at(Stage::Volume, place.path())?;
        }
    }
    let cwd = &job.process.cwd;
    make_directory(cwd).at(Stage::Workdir, cwd).map(drop)
}

fn all_places(job: &Job) -> impl Iterator<Item = Place<'_>> {
    let volumes = job.volumes.iter().map(|path| Place::Volume(path));
    let memory = job.tmpfs.iter().map(Place::Memory);
    let shares = job.shares.iter().enumerate();
    let shares = shares.map(|(number, share)| Place::Share(number, share));
    volumes.chain(memory).chain(shares)
}

fn depth(path: &[u8]) -> usize {
    let parts = path.split(|byte| *byte == b'/');
    parts.filter(|part| !part.is_empty()).count()
}

#[cold]
fn mount_share(number: usize, share: &Share, shares: &impl Shares) -> Result<()> {
    if shares.is_directory(number)? {
        make_directory(&share.path)?;
    } else {
        make_file(&share.path)?;
    }
    shares.mount(number, share, &sys::string(&share.path)?)
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
    fn what_is_above_comes_first() {
        assert_eq!([&b"/a"[..], b"//a/b/", b"/"].map(depth), [1, 2, 0]);
    }

    #[test]
    fn options_become_flags_and_data() {
        assert_eq!(parse_options(b""), (DEFAULT_FLAGS, Vec::new()));
        let (flags, data) = parse_options(b"rw,exec,size=64m,mode=1777,ro");
        assert_eq!(flags, libc::MS_NOSUID | libc::MS_NODEV | libc::MS_RDONLY);
        assert_eq!(data, b"size=64m,mode=1777");
    }
}
