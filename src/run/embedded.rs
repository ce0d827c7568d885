//! What the binary carries with it: the guest kernel, PID 1, the probe, and an image to try first.

use std::io::Cursor;

use super::Error;
use crate::image::{self, Carried, Image, Limits, Source, Store};

/// The guest kernel, zstd-compressed ELF.
pub const KERNEL: Carried = Carried {
    bytes: include_bytes!("../../kernel/vmlinux.zst"),
    sha256: env!("HUSK_KERNEL_SHA256"),
};

/// Its version.
pub const GUEST_KERNEL: &str = env!("HUSK_KERNEL_VERSION");

/// PID 1 of the guest, a static ELF.
pub const INIT: Carried = Carried {
    bytes: include_bytes!(env!("HUSK_INIT")),
    sha256: env!("HUSK_INIT_SHA256"),
};

/// The program that measures a wall from the inside, a static ELF.
pub const PROBE: Carried = Carried {
    bytes: include_bytes!(env!("HUSK_PROBE")),
    sha256: env!("HUSK_PROBE_SHA256"),
};

/// A blank disk, zstd-compressed: an ext4 of 64 MiB (`rootfs/disk/build.sh`).
pub const BLANK_DISK: &[u8] = include_bytes!("../../rootfs/disk/blank.ext4.zst");

/// The image `busybox`, an OCI archive.
const BUSYBOX: &[u8] = include_bytes!("../../rootfs/busybox/busybox.tar");

/// The reference under which [`BUSYBOX`] loads.
const BUSYBOX_NAME: &str = "docker.io/library/busybox:latest";

/// The image of `reference`: one in the store; one in the archive or layout it names; or the
/// embedded one when it asks for `busybox` and the store has none.
pub fn resolve(store: &Store, reference: &str) -> Result<Image, Error> {
    if let Some(source) = Source::of_transport(reference)? {
        let mut loaded = store.load(source, &Limits::default())?;
        return match (loaded.pop(), loaded.is_empty()) {
            (Some(image), true) => Ok(image),
            _ => Err(Error::SeveralImages(reference.to_owned())),
        };
    }
    match store.find(reference) {
        Err(image::Error::NotFound { reference, .. }) if reference == BUSYBOX_NAME => {
            store.load(
                Source::Stream(Box::new(Cursor::new(BUSYBOX))),
                &Limits::default(),
            )?;
            Ok(store.find(BUSYBOX_NAME)?)
        }
        found => Ok(found?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    #[test]
    fn what_is_carried_has_the_digest_that_was_computed_when_it_was_built() {
        for carried in [KERNEL, INIT, PROBE] {
            assert_eq!(Digest::of(carried.bytes).hex(), carried.sha256);
        }
    }
}
