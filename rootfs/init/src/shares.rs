//! The host's files, shown to the workload: one file system device has all of a machine's shares, by
//! their numbers. It is mounted aside, each share is bound to its place, and the rest goes away again.

use std::ffi::{CStr, CString};

use husk_init::exit::{Failure, Stage};
use husk_init::failure::At;
use husk_init::job::{Job, Share};
use husk_init::places::{self, Shares};
use husk_init::sys::mount::{mount, unmount};
use husk_init::sys::{self, Result, file};

/// The device's name (`virtio_fs_config.tag`).
const TAG: &CStr = c"husk";

/// Where it is mounted meanwhile: on /dev, which is none of the image's.
const ASIDE: &CStr = c"/dev/husk-shares";

/// A device of the host's in a shared folder is none of the guest's.
const FLAGS: libc::c_ulong = libc::MS_NODEV;

/// The device, mounted aside.
struct Device;

/// Makes the job's places, the shares among them.
pub fn make_places(job: &Job) -> std::result::Result<(), Failure> {
    if job.shares.is_empty() {
        return places::make(job, &Device);
    }
    show().at(Stage::Volume, b"the host's files")?;
    places::make(job, &Device)?;
    hide().at(Stage::Volume, ASIDE.to_bytes())
}

#[cold]
fn show() -> Result<()> {
    file::mkdir(ASIDE, 0o700)?;
    mount(TAG, ASIDE, c"virtiofs", FLAGS, None)
}

#[cold]
fn hide() -> Result<()> {
    unmount(ASIDE)?;
    file::rmdir(ASIDE)
}

impl Shares for Device {
    fn is_directory(&self, number: usize) -> Result<bool> {
        let kind = file::stat(&place(number)?)?.st_mode & libc::S_IFMT;
        Ok(kind == libc::S_IFDIR)
    }

    #[cold]
    fn mount(&self, number: usize, share: &Share, target: &CStr) -> Result<()> {
        mount(&place(number)?, target, c"none", libc::MS_BIND, None)?;
        if share.read_only {
            let flags = FLAGS | libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
            mount(c"none", target, c"none", flags, None)?;
        }
        Ok(())
    }
}

/// Where share `number` is.
fn place(number: usize) -> Result<CString> {
    let mut digits = Vec::new();
    let mut rest = number;
    while rest > 0 || digits.is_empty() {
        digits.insert(0, b"0123456789"[rest % 10]);
        rest /= 10;
    }
    sys::string(&[ASIDE.to_bytes(), b"/", &digits].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_found_by_their_numbers() {
        let places = [0, 7, 210].map(|number| place(number).unwrap());
        let expected = [
            c"/dev/husk-shares/0",
            c"/dev/husk-shares/7",
            c"/dev/husk-shares/210",
        ];
        assert_eq!(places, expected.map(CStr::to_owned));
    }
}
