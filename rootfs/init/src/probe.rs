//! The program that measures this wall, shown to the workload: a file of the disk, beside init, and not
//! of the image.
//!
//! The disk is reachable from nowhere by now ([`crate::root`]), so that the probe costs the runs that do
//! not ask for it nothing. Init's own file is still on it, and says which device it is: the disk is
//! mounted once more, its one file is bound to its place, and the rest goes away again.

use std::ffi::c_ulong;

use husk_init::exit::{Failure, Stage};
use husk_init::failure::At;
use husk_init::files;
use husk_init::job::{GuestFile, PROBE_PATH};
use husk_init::sys::mount::{mount, unmount};
use husk_init::sys::{self, Result, file};

/// Of the disk's own mount, and of each file that is bound from it. Whoever takes the flags away still
/// cannot write: EROFS has no words for it.
const FLAGS: c_ulong = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;

const DEVICE: &std::ffi::CStr = c"/dev/husk-disk";
const DISK: &std::ffi::CStr = c"/dev/husk";

/// Has the probe at [`PROBE_PATH`], whatever the image has there; a directory is not replaced. Cold,
/// so that its code is on no page that other runs read from the disk.
#[cold]
pub fn show() -> std::result::Result<(), Failure> {
    let point = GuestFile {
        path: PROBE_PATH.into(),
        mode: 0o755,
        content: Vec::new(),
    };
    files::write(&[point])?;
    bind().at(Stage::Mount, PROBE_PATH.as_bytes())
}

fn bind() -> Result<()> {
    let disk = file::stat(c"/proc/self/exe")?.st_dev;
    file::make_disk(DEVICE, disk)?;
    file::mkdir(DISK, 0o700)?;
    mount(DEVICE, DISK, c"erofs", FLAGS, None)?;
    let source = sys::string(&[DISK.to_bytes(), PROBE_PATH.as_bytes()].concat())?;
    let target = sys::string(PROBE_PATH.as_bytes())?;
    mount(&source, &target, c"none", libc::MS_BIND, None)?;
    unmount(DISK)?;
    file::rmdir(DISK)?;
    file::unlink(DEVICE)
}
