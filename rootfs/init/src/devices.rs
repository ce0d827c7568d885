//! A device that comes while the machine runs. The kernel takes it by a file of its driver's (`kernel/patches`, 0034), to which
//! no workload can write that has not all rights: its /sys is read-only, and so is the file system behind it.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use husk_init::sys::mount::Detached;
use husk_init::sys::{Errno, Result, file, tree};

/// The driver's file, in sysfs.
const NEW_DEVICE: &CStr = c"bus/platform/drivers/virtio-mmio/new_device";

/// Has the kernel probe `device`, in its words for the command line. A kernel without that file takes none.
#[cold]
pub fn take(device: &[u8]) -> Result<()> {
    let sysfs = Detached::new(c"sysfs")?;
    match announce(sysfs.root(), device) {
        Err(Errno(libc::EROFS)) => {
            sysfs.set_read_only(false)?;
            let taken = announce(sysfs.root(), device);
            // It was so, and nobody has a file of it open to write to.
            let _as_before = sysfs.set_read_only(true);
            taken
        }
        taken => taken,
    }
}

fn announce(sysfs: BorrowedFd<'_>, device: &[u8]) -> Result<()> {
    let file = tree::open(sysfs.as_fd(), NEW_DEVICE, libc::O_WRONLY, 0)?;
    file::write(&file, device).map(drop)
}
