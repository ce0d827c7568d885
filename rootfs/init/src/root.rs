//! The root file system: the image's tree, read-only, under a writable layer in memory, or on a disk.
//!
//! ```text
//!  before                                  after
//!  /          the disk (EROFS)             /       overlay
//!  ├ rootfs   the image's tree  ── lower ─▶│         the disks and the tmpfs are
//!  ├ run      tmpfs, or a disk  ── upper ─▶│         reachable from nowhere else
//!  └ mnt      the overlay       ── moved ─▶┘         (but the upper, by a descriptor of init's)
//! ```
//!
//! The move comes before everything else, so that every later path, whatever links the image has
//! put on it, resolves inside the image's own tree.

use std::os::fd::OwnedFd;

use husk_init::exit::{Failure, Stage};
use husk_init::failure::At;
use husk_init::sys::mount::{chdir, chroot, mount};
use husk_init::sys::{Errno, Result, disk, file, process};

/// Renames of the image's directories work. Nothing persists, so nothing is indexed, and no
/// UUID is made. `metacopy=off` because an image could carry the attribute that it trusts.
const LAYERS: &std::ffi::CStr = c"lowerdir=/rootfs,upperdir=/run/upper,workdir=/run/work,\
    redirect_dir=on,metacopy=off,index=off,xino=off,uuid=null";

/// The same for kernels before 6.6, which make no UUID and do not know the word.
const OLDER_LAYERS: &std::ffi::CStr = c"lowerdir=/rootfs,upperdir=/run/upper,workdir=/run/work,\
    redirect_dir=on,metacopy=off,index=off,xino=off";

/// The host's word that there is a disk to be written, and which one.
const ON_DISK: &std::ffi::CStr = c"HUSK_WRITTEN";
const DISK: &std::ffi::CStr = c"/dev/vdb";

/// Bytes of its blocks.
const BLOCK: u64 = 4096;

/// Permission bits that mkdir takes; the others need chmod.
const MKDIR_BITS: libc::mode_t = 0o1777;

/// Makes the image's tree the root of everything, init included.
///
/// What the workload writes is found through the descriptor, and by no path.
pub fn enter() -> std::result::Result<OwnedFd, Failure> {
    mount_written().at(Stage::Mount, b"/run")?;
    make_upper().at(Stage::Mount, b"/run/upper")?;
    let upper = file::open(c"/run/upper", libc::O_PATH | libc::O_DIRECTORY, 0);
    let upper = upper.at(Stage::Mount, b"/run/upper")?;
    mount_layers().at(Stage::Mount, b"/mnt")?;
    move_in().at(Stage::Mount, b"/")?;
    Ok(upper)
}

/// Refuses writes to the root from here on. Mounts on top of it are not touched.
pub fn seal() -> std::result::Result<(), Failure> {
    let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
    mount(c"none", c"/", c"none", flags, None).at(Stage::Mount, b"/")
}

/// What is written stays in memory, or goes to the disk that the host has for it.
fn mount_written() -> Result<()> {
    if process::has_variable(ON_DISK) {
        return mount_disk();
    }
    mount(c"tmpfs", c"/run", c"tmpfs", 0, Some(c"mode=0755"))
}

/// The disk has a small ext4 on it, which grows to the disk's own size. What is deleted is the host's again.
#[cold]
fn mount_disk() -> Result<()> {
    mount(DISK, c"/run", c"ext4", 0, Some(c"discard"))?;
    let disk = file::open(DISK, libc::O_RDONLY, 0)?;
    let folder = file::open(c"/run", libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    disk::grow_ext4(&folder, disk::size(&disk)? / BLOCK)
}

/// The root directory of an overlay looks as the upper one does: it gets the image's attributes.
fn make_upper() -> Result<()> {
    let image = file::stat(c"/rootfs")?;
    match file::mkdir(c"/run/work", 0o700) {
        Err(Errno(libc::EEXIST)) => {}
        made => made?,
    }
    let mode = image.st_mode & 0o7777;
    match file::mkdir(c"/run/upper", mode & MKDIR_BITS) {
        // A disk that was written before.
        Err(Errno(libc::EEXIST)) => return Ok(()),
        made => made?,
    }
    if (image.st_uid, image.st_gid) != (0, 0) {
        file::chown(c"/run/upper", image.st_uid, image.st_gid)?;
    }
    if mode & !MKDIR_BITS != 0 {
        file::chmod(c"/run/upper", mode)?;
    }
    Ok(())
}

fn mount_layers() -> Result<()> {
    let overlay = |layers| mount(c"overlay", c"/mnt", c"overlay", 0, Some(layers));
    match overlay(LAYERS) {
        Err(Errno(libc::EINVAL)) => overlay(OLDER_LAYERS),
        mounted => mounted,
    }
}

fn move_in() -> Result<()> {
    chdir(c"/mnt")?;
    mount(c".", c"/", c"none", libc::MS_MOVE, None)?;
    chroot(c".")
}
