//! Layers become one tree, lowest first, by the rules of the OCI image spec: a layer's whiteouts
//! take from the layers below it, wherever they stand in its archive; then its entries are put.
//!
//! A path whose directory is a symbolic link of a lower layer goes where the link leads, inside
//! the tree, as it would if the layer were unpacked onto the ones below; `..` ends at the root.

use std::collections::BTreeMap;

use super::error::Refusal;
use super::tree::{Device, LayerTree, Meta, Node, split};

/// Symbolic links followed on one path, as Linux has it.
const MAX_LINKS: usize = 40;

/// Permissions of a directory that no layer describes.
const IMPLIED_MODE: u16 = 0o755;

/// Most directories in one another: what a path of Linux can name.
const MAX_DEPTH: usize = 2048;

/// Index of an inode.
pub type Id = usize;

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Names, in the order of their bytes.
    Directory(BTreeMap<Vec<u8>, Id>),
    /// A regular file.
    File {
        /// Which blob has its content.
        blob: usize,
        /// Bytes.
        size: u64,
        /// Where in the blob.
        offset: u64,
    },
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// A file of whatever kind; several names may mean the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// What it is.
    pub kind: Kind,
    /// Its attributes.
    pub meta: Meta,
}

/// A file system. Inodes that no name leads to any more stay in the list and mean nothing.
#[derive(Debug, Clone)]
pub struct Tree {
    inodes: Vec<Inode>,
    root: Id,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            inodes: vec![implied()],
            root: 0,
        }
    }
}

fn implied() -> Inode {
    let meta = Meta {
        mode: IMPLIED_MODE,
        ..Meta::default()
    };
    Inode {
        kind: Kind::Directory(BTreeMap::new()),
        meta,
    }
}

impl Tree {
    /// The root directory.
    pub fn root(&self) -> Id {
        self.root
    }

    /// An inode.
    pub fn inode(&self, id: Id) -> &Inode {
        &self.inodes[id]
    }

    /// How many inodes there are, those without a name too: ids are smaller than this.
    pub fn id_bound(&self) -> usize {
        self.inodes.len()
    }

    /// Puts this tree below the directory `name` of a new root that has `others` besides.
    pub fn put_below(&mut self, name: &[u8], others: Vec<(&[u8], Inode)>) {
        let mut names = BTreeMap::from([(name.to_vec(), self.root)]);
        for (name, inode) in others {
            names.insert(name.to_vec(), self.add(inode));
        }
        self.root = self.add(Inode {
            kind: Kind::Directory(names),
            ..implied()
        });
    }

    /// Puts a layer on top; its contents are in blob number `blob`.
    pub fn apply(&mut self, layer: LayerTree, blob: usize) -> Result<(), Refusal> {
        for entry in &layer.entries {
            match entry.node {
                Node::Whiteout => self.remove(&entry.path),
                Node::Opaque => self.clear(&entry.path),
                _ => {}
            }
        }
        for entry in layer.entries {
            let refuse = |reason| Refusal::new(&entry.path, reason);
            let kind = match entry.node {
                Node::Whiteout | Node::Opaque => continue,
                Node::Link(target) => {
                    let inode = self
                        .look_up(&target)
                        .ok_or_else(|| refuse("a hard link to a file that is not there"))?;
                    if matches!(self.inodes[inode].kind, Kind::Directory(_)) {
                        return Err(refuse("a hard link to a directory"));
                    }
                    self.put(&entry.path, |_| inode).map_err(refuse)?;
                    continue;
                }
                Node::Directory => {
                    self.put_directory(&entry.path, entry.meta)
                        .map_err(refuse)?;
                    continue;
                }
                Node::File { size, offset } => Kind::File { blob, size, offset },
                Node::Symlink(target) => Kind::Symlink(target),
                Node::CharDevice(device) => Kind::CharDevice(device),
                Node::BlockDevice(device) => Kind::BlockDevice(device),
                Node::Fifo => Kind::Fifo,
            };
            let inode = Inode {
                kind,
                meta: entry.meta,
            };
            self.put(&entry.path, |tree| tree.add(inode))
                .map_err(refuse)?;
        }
        Ok(())
    }

    fn add(&mut self, inode: Inode) -> Id {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    fn names(&self, id: Id) -> Option<&BTreeMap<Vec<u8>, Id>> {
        match &self.inodes[id].kind {
            Kind::Directory(names) => Some(names),
            _ => None,
        }
    }

    fn names_mut(&mut self, id: Id) -> Option<&mut BTreeMap<Vec<u8>, Id>> {
        match &mut self.inodes[id].kind {
            Kind::Directory(names) => Some(names),
            _ => None,
        }
    }

    /// A directory keeps what is in it; anything else in its place goes.
    fn put_directory(&mut self, path: &[u8], meta: Meta) -> Result<(), &'static str> {
        if path.is_empty() {
            self.inodes[self.root].meta = meta;
            return Ok(());
        }
        let (above, name) = split(path);
        let parent = self.make_directory(above)?;
        let there = self
            .names(parent)
            .and_then(|names| names.get(name))
            .copied();
        match there.filter(|id| self.names(*id).is_some()) {
            Some(id) => self.inodes[id].meta = meta,
            None => {
                let id = self.add(Inode { meta, ..implied() });
                self.name(parent, name, id);
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &[u8], make: impl FnOnce(&mut Self) -> Id) -> Result<(), &'static str> {
        let (above, name) = split(path);
        let parent = self.make_directory(above)?;
        let id = make(self);
        self.name(parent, name, id);
        Ok(())
    }

    fn name(&mut self, parent: Id, name: &[u8], id: Id) {
        if let Some(names) = self.names_mut(parent) {
            names.insert(name.to_vec(), id);
        }
    }

    fn remove(&mut self, path: &[u8]) {
        let (above, name) = split(path);
        if let Some(names) = self.walk(above).and_then(|parent| self.names_mut(parent)) {
            names.remove(name);
        }
    }

    fn clear(&mut self, path: &[u8]) {
        if let Some(names) = self.walk(path).and_then(|id| self.names_mut(id)) {
            names.clear();
        }
    }

    /// The inode of a path; a link at its very end is not followed.
    fn look_up(&self, path: &[u8]) -> Option<Id> {
        let (above, name) = split(path);
        if name.is_empty() {
            return Some(self.root);
        }
        self.names(self.walk(above)?)?.get(name).copied()
    }

    /// The directory of a path, if it is there.
    fn walk(&self, path: &[u8]) -> Option<Id> {
        let mut walk = Walk::new(self.root, path);
        while let Some(name) = walk.next_name() {
            let next = *self.names(walk.here())?.get(&name)?;
            match &self.inodes[next].kind {
                Kind::Directory(_) => walk.enter(next).ok()?,
                Kind::Symlink(target) => walk.follow(target).ok()?,
                _ => return None,
            }
        }
        Some(walk.here())
    }

    /// The directory of a path, made with its parents where it is missing.
    fn make_directory(&mut self, path: &[u8]) -> Result<Id, &'static str> {
        let mut walk = Walk::new(self.root, path);
        while let Some(name) = walk.next_name() {
            let there = self
                .names(walk.here())
                .and_then(|names| names.get(&name))
                .copied();
            match there.map(|id| (id, &self.inodes[id].kind)) {
                Some((id, Kind::Directory(_))) => walk.enter(id)?,
                Some((_, Kind::Symlink(target))) => walk.follow(target)?,
                _ => {
                    let id = self.add(implied());
                    self.name(walk.here(), &name, id);
                    walk.enter(id)?;
                }
            }
        }
        Ok(walk.here())
    }
}

/// A path on its way: the directories behind, and the names ahead, the next one last.
struct Walk {
    behind: Vec<Id>,
    ahead: Vec<Vec<u8>>,
    links: usize,
}

impl Walk {
    fn new(root: Id, path: &[u8]) -> Self {
        let mut walk = Self {
            behind: vec![root],
            ahead: Vec::new(),
            links: 0,
        };
        walk.prepend(path);
        walk
    }

    fn prepend(&mut self, path: &[u8]) {
        let names = path
            .rsplit(|byte| *byte == b'/')
            .filter(|name| !matches!(*name, b"" | b"."));
        self.ahead.extend(names.map(<[u8]>::to_vec));
    }

    fn here(&self) -> Id {
        *self.behind.last().expect("the root is never left")
    }

    /// The next name to look up; `..` is taken care of.
    fn next_name(&mut self) -> Option<Vec<u8>> {
        loop {
            let name = self.ahead.pop()?;
            if name != b".." {
                return Some(name);
            }
            if self.behind.len() > 1 {
                self.behind.pop();
            }
        }
    }

    fn enter(&mut self, id: Id) -> Result<(), &'static str> {
        if self.behind.len() >= MAX_DEPTH {
            return Err("it lies too deep");
        }
        self.behind.push(id);
        Ok(())
    }

    fn follow(&mut self, target: &[u8]) -> Result<(), &'static str> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err("too many symbolic links on its way");
        }
        if target.starts_with(b"/") {
            self.behind.truncate(1);
        }
        self.prepend(target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tree::Entry;

    fn entry(path: &str, node: Node) -> Entry {
        Entry {
            path: path.into(),
            node,
            meta: Meta {
                mode: 0o700,
                ..Meta::default()
            },
        }
    }

    fn file(path: &str) -> Entry {
        entry(path, Node::File { size: 1, offset: 0 })
    }

    fn merge(layers: Vec<Vec<Entry>>) -> Result<Vec<String>, String> {
        let mut tree = Tree::default();
        for (blob, entries) in layers.into_iter().enumerate() {
            let layer = LayerTree {
                entries,
                blob_len: 0,
            };
            tree.apply(layer, blob)
                .map_err(|refusal| refusal.to_string())?;
        }
        let mut lines = Vec::new();
        list(&tree, tree.root(), "", &mut lines);
        Ok(lines)
    }

    fn list(tree: &Tree, id: Id, path: &str, lines: &mut Vec<String>) {
        let path = |name: &[u8]| format!("{path}/{}", String::from_utf8_lossy(name));
        for (name, child) in tree.names(id).unwrap() {
            match &tree.inode(*child).kind {
                Kind::Directory(_) => {
                    lines.push(path(name) + "/");
                    list(tree, *child, &path(name), lines);
                }
                Kind::File { blob, .. } => lines.push(format!("{}={blob}", path(name))),
                _ => lines.push(path(name)),
            }
        }
    }

    #[test]
    fn upper_layers_replace_and_whiteouts_take_from_below_only() {
        let lower = vec![file("a/x"), file("a/y"), file("b/z"), file("c")];
        let upper = vec![
            file("a/new"),
            entry("a", Node::Opaque),
            entry("b/z", Node::Whiteout),
            file("b/z"),
            entry("c", Node::Directory),
            entry("gone", Node::Whiteout),
        ];
        let merged = merge(vec![lower, upper]).unwrap();
        assert_eq!(merged, ["/a/", "/a/new=1", "/b/", "/b/z=1", "/c/"]);
    }

    #[test]
    fn a_directory_again_keeps_its_children_and_a_file_in_its_place_drops_them() {
        let lower = vec![file("d/x"), file("e/x")];
        let upper = vec![entry("d", Node::Directory), file("e")];
        assert_eq!(
            merge(vec![lower, upper]).unwrap(),
            ["/d/", "/d/x=0", "/e=1"]
        );
    }

    #[test]
    fn links_of_lower_layers_are_followed_inside_the_tree() {
        let lower = vec![
            file("usr/lib/old"),
            entry("lib", Node::Symlink(b"usr/lib".to_vec())),
            entry("out", Node::Symlink(b"../../../usr/lib".to_vec())),
            entry("abs", Node::Symlink(b"/usr".to_vec())),
            entry("loop", Node::Symlink(b"loop".to_vec())),
        ];
        let upper = vec![file("lib/new"), file("out/up"), file("abs/lib/abs")];
        let merged = merge(vec![lower.clone(), upper]).unwrap().join(" ");
        assert!(
            merged.contains("/usr/lib/abs=1 /usr/lib/new=1 /usr/lib/old=0 /usr/lib/up=1"),
            "{merged}"
        );
        assert!(
            merge(vec![lower, vec![file("loop/x")]])
                .unwrap_err()
                .contains("`loop/x`")
        );
    }

    #[test]
    fn hard_links_share_an_inode_and_need_one() {
        let link = |to: &str| entry("l", Node::Link(to.into()));
        assert_eq!(
            merge(vec![vec![file("f")], vec![link("f")]]).unwrap(),
            ["/f=0", "/l=0"]
        );
        assert!(
            merge(vec![vec![link("f")]])
                .unwrap_err()
                .contains("not there")
        );
        assert!(
            merge(vec![vec![file("d/f"), link("d")]])
                .unwrap_err()
                .contains("directory")
        );
    }
}
