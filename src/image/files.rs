//! What an image has at its paths, for who compares.

use super::merge::{Id, Kind, Tree};

/// An image's files, by path; no link is followed.
#[derive(Debug)]
pub struct Files(Tree);

/// What there is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Whether it is a directory.
    pub directory: bool,
    /// Permissions: twelve bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Files {
    /// The files of a merged tree.
    pub(super) fn of(tree: Tree) -> Self {
        Self(tree)
    }

    /// What there is at `path`, relative to the root and without empty names.
    pub fn look_at(&self, path: &[u8]) -> Option<Known> {
        let inode = self.0.inode(self.find(path)?);
        Some(Known {
            directory: matches!(inode.kind, Kind::Directory(_)),
            mode: inode.meta.mode,
            uid: inode.meta.uid,
            gid: inode.meta.gid,
        })
    }

    /// The names in the directory `path`; none where it is no directory.
    pub fn names(&self, path: &[u8]) -> impl Iterator<Item = &[u8]> {
        let names = match self.find(path).map(|id| &self.0.inode(id).kind) {
            Some(Kind::Directory(names)) => Some(names),
            _ => None,
        };
        names
            .into_iter()
            .flat_map(|names| names.keys())
            .map(Vec::as_slice)
    }

    fn find(&self, path: &[u8]) -> Option<Id> {
        let mut id = self.0.root();
        for name in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            match &self.0.inode(id).kind {
                Kind::Directory(names) => id = *names.get(name)?,
                _ => return None,
            }
        }
        Some(id)
    }
}
