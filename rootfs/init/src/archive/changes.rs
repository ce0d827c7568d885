//! What a machine has changed, as a layer of the OCI image spec ("Layer Filesystem Changeset"): the upper
//! directory of its overlay (Documentation/filesystems/overlayfs.rst), in other words.
//!
//! ```text
//!  upper                                  layer
//!  a file, a directory                    the same
//!  a character device 0:0                 .wh.NAME
//!  a directory, trusted.overlay.opaque    the directory, and .wh..wh..opq in it
//!  … and trusted.overlay.redirect         … and all that the overlay shows there
//! ```

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::OwnedFd;

use super::error::Tried;
use super::pack::{Look, Step, Walk, entry};
use super::tar::Writer;
use super::{Entry, Error, Kind};
use crate::sys;
use crate::sys::tree::{self, HERE};

/// The second is an ordinary user's.
const OPAQUE: [&CStr; 2] = [c"trusted.overlay.opaque", c"user.overlay.opaque"];
/// See above.
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";

const REDIRECT: &CStr = c"trusted.overlay.redirect";

/// Packs what `upper`, the upper directory of the root, has, but not what is at or below one of `hidden`, absolute paths. Without `contents`
/// every file is empty.
pub fn pack_changes<W: Write>(
    upper: OwnedFd,
    hidden: &[Vec<u8>],
    contents: bool,
    to: &mut Writer<W>,
) -> Result<(), Error> {
    let mut walk = Walk::new(to, b"", false);
    walk.tree(upper, |walk, look| {
        let path = [b"/", &walk.name[..]].concat();
        if hidden.contains(&path) {
            return Ok(Step::Skip);
        }
        let (_, _, stat) = look;
        match u32::from(stat.stx_mode) & libc::S_IFMT {
            libc::S_IFCHR if (stat.stx_rdev_major, stat.stx_rdev_minor) == (0, 0) => {
                whiteout(walk)?;
                Ok(Step::Skip)
            }
            libc::S_IFDIR => directory(walk, look),
            libc::S_IFREG if !contents => {
                let header = entry(&walk.name, Kind::File, stat);
                walk.to.begin(&header)?;
                Ok(Step::Skip)
            }
            _ => Ok(Step::Usual),
        }
    })
}

/// Says that nothing is here.
fn whiteout<W: Write>(walk: &mut Walk<'_, W>) -> Result<(), Error> {
    let slash = walk.name.iter().rposition(|byte| *byte == b'/');
    let (above, name) = walk.name.split_at(slash.map_or(0, |slash| slash + 1));
    walk.to.begin(&Entry {
        name: [above, b".wh.", name].concat(),
        ..Entry::default()
    })
}

/// A directory that hides what the image has there says so.
fn directory<W: Write>(walk: &mut Walk<'_, W>, (folder, name, _): Look<'_>) -> Result<Step, Error> {
    let Some(opened) = walk.open_folder(folder, name)? else {
        return Ok(Step::Skip);
    };
    if tree::attribute(&opened, REDIRECT).is_err() {
        let says = |name: &&CStr| tree::attribute(&opened, name).is_ok_and(|value| value == b"y");
        let opaque = OPAQUE.iter().any(says);
        return Ok(match opaque {
            true => Step::Marked(OPAQUE_MARK),
            false => Step::Usual,
        });
    }
    // Its content is the image's, from elsewhere: the overlay knows.
    let path = [b"/", &walk.name[..]].concat();
    let start = sys::string(&path).tried("open", &path)?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let shown = tree::open(HERE, &start, flags, 0).tried("open", &path)?;
    let mut inner = Walk::new(walk.to, &path, true);
    inner.name.clone_from(&walk.name);
    inner.tree(shown, |_, _| Ok(Step::Usual))?;
    // The order does not matter: a mark speaks of lower layers only.
    walk.mark(OPAQUE_MARK)?;
    Ok(Step::Skip)
}
