//! A disk, and the ext4 on it.

use std::os::fd::{AsRawFd, OwnedFd};

use super::{Result, check};

/// BLKGETSIZE64 of linux/fs.h: `_IOR(0x12, 114, size_t)`.
const GET_SIZE: libc::c_ulong = 0x8008_1272;

/// EXT4_IOC_RESIZE_FS of uapi/linux/ext4.h: `_IOW('f', 16, __u64)`.
const RESIZE: libc::c_ulong = 0x4008_6610;

/// Bytes of a block device.
pub fn size(device: &OwnedFd) -> Result<u64> {
    let mut bytes = 0u64;
    // SAFETY: the kernel writes 64 bits, which `bytes` has.
    check(unsafe { libc::ioctl(device.as_raw_fd(), GET_SIZE, &raw mut bytes) })?;
    Ok(bytes)
}

/// Makes the mounted ext4 that `folder` is in `blocks` long; one that is so already stays.
pub fn grow_ext4(folder: &OwnedFd, blocks: u64) -> Result<()> {
    // SAFETY: the kernel reads 64 bits, which `blocks` has.
    check(unsafe { libc::ioctl(folder.as_raw_fd(), RESIZE, &raw const blocks) }).map(drop)
}
