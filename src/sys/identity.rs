//! Whose a file is that this thread makes.

use rustix::io::Result;
use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Runs `work` with the files that it makes belonging to user `uid` and group `gid`: only root can do so,
/// and keeps its right to write into others' directories meanwhile.
pub fn make_as<T>(uid: u32, gid: u32, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (own_uid, own_gid) = (geteuid(), getegid());
    if (uid, gid) == (own_uid.as_raw(), own_gid.as_raw()) {
        return work();
    }
    let before = capabilities(None)?;
    set_fs_ids(Uid::from_raw(uid), Gid::from_raw(gid));
    let mut meanwhile = capabilities(None)?;
    meanwhile.effective |= before.effective & CapabilitySet::DAC_OVERRIDE;
    let done = set_capabilities(None, meanwhile).and_then(|()| work());
    set_fs_ids(own_uid, own_gid);
    set_capabilities(None, before)?;
    done
}

/// Sets by which ids this thread uses files. The kernel does not say whether it did.
fn set_fs_ids(uid: Uid, gid: Gid) {
    // The group first: afterwards the right to choose it may be gone.
    // SAFETY: takes a number; concerns this thread alone.
    unsafe { libc::setfsgid(gid.as_raw()) };
    // SAFETY: takes a number; concerns this thread alone.
    unsafe { libc::setfsuid(uid.as_raw()) };
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn files_belong_to_whom_they_were_made_for() {
        let folder = tempfile::tempdir().unwrap();
        let own = (geteuid().as_raw(), getegid().as_raw());
        let root = own.0 == 0;
        let wanted = if root { (1234, 5678) } else { own };
        let path = folder.path().join("file");
        make_as(wanted.0, wanted.1, || {
            File::create(&path).unwrap();
            Ok(())
        })
        .unwrap();
        let made = fs::metadata(&path).unwrap();
        assert_eq!((made.uid(), made.gid()), wanted);
        File::create(folder.path().join("own")).unwrap();
        let made = fs::metadata(folder.path().join("own")).unwrap();
        assert_eq!((made.uid(), made.gid()), own);
    }
}
