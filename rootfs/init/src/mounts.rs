//! What a container expects to find mounted: /proc, /sys, and a /dev of its own, which shows none of
//! the machine's disks and consoles.

use std::ffi::CStr;

use husk_init::exit::{Failure, Stage};
use husk_init::failure::At;
use husk_init::sys::{Errno, Result, file, mount, socket};

const QUIET: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// A file system without a disk.
struct Mount {
    kind: &'static CStr,
    at: &'static CStr,
    flags: libc::c_ulong,
    data: Option<&'static CStr>,
}

/// On directories that an image usually has.
const OUTER: [Mount; 3] = [
    Mount {
        kind: c"proc",
        at: c"/proc",
        flags: QUIET,
        data: None,
    },
    Mount {
        kind: c"sysfs",
        at: c"/sys",
        flags: QUIET | libc::MS_RDONLY,
        data: None,
    },
    Mount {
        kind: c"tmpfs",
        at: c"/dev",
        flags: libc::MS_NOSUID,
        data: Some(c"mode=755,size=64m"),
    },
];

/// On directories of the new /dev.
const INNER: [Mount; 2] = [
    Mount {
        kind: c"devpts",
        at: c"/dev/pts",
        flags: libc::MS_NOSUID | libc::MS_NOEXEC,
        data: Some(c"newinstance,ptmxmode=0666,mode=0620,gid=5"),
    },
    Mount {
        kind: c"tmpfs",
        at: c"/dev/shm",
        flags: QUIET,
        data: Some(c"mode=1777,size=64m"),
    },
];

/// Not every kernel has these, and few programs miss them.
const OPTIONAL: [Mount; 2] = [
    Mount {
        kind: c"cgroup2",
        at: c"/sys/fs/cgroup",
        flags: QUIET,
        data: None,
    },
    Mount {
        kind: c"mqueue",
        at: c"/dev/mqueue",
        flags: QUIET,
        data: None,
    },
];

/// Numbers of Documentation/admin-guide/devices.txt.
const DEVICES: [(&CStr, u32, u32); 6] = [
    (c"/dev/null", 1, 3),
    (c"/dev/zero", 1, 5),
    (c"/dev/full", 1, 7),
    (c"/dev/random", 1, 8),
    (c"/dev/urandom", 1, 9),
    (c"/dev/tty", 5, 0),
];

const LINKS: [(&CStr, &CStr); 5] = [
    (c"pts/ptmx", c"/dev/ptmx"),
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
];

/// Mounts and makes all of it, and brings the loopback interface up.
pub fn populate() -> std::result::Result<(), Failure> {
    for outer in &OUTER {
        outer.place().at(Stage::Mount, outer.at.to_bytes())?;
    }
    for (path, major, minor) in DEVICES {
        file::make_device(path, major, minor).at(Stage::Mount, path.to_bytes())?;
    }
    for (target, path) in LINKS {
        file::symlink(target, path).at(Stage::Mount, path.to_bytes())?;
    }
    for inner in &INNER {
        file::mkdir(inner.at, 0o755).at(Stage::Mount, inner.at.to_bytes())?;
        inner.mount().at(Stage::Mount, inner.at.to_bytes())?;
    }
    file::mkdir(c"/dev/mqueue", 0o755).at(Stage::Mount, b"/dev/mqueue")?;
    for optional in &OPTIONAL {
        let _ = optional.mount();
    }
    // A kernel without IPv4 has no such interface to miss.
    let _ = socket::loopback_up();
    Ok(())
}

impl Mount {
    fn mount(&self) -> Result<()> {
        mount::mount(self.kind, self.at, self.kind, self.flags, self.data)
    }

    /// Mounts, making the directory if the image lacks it.
    fn place(&self) -> Result<()> {
        match self.mount() {
            Err(Errno(libc::ENOENT)) => {
                file::mkdir(self.at, 0o755)?;
                self.mount()
            }
            answer => answer,
        }
    }
}
