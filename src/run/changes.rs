//! What a machine has changed of its image: the stream of its archiver, beside the image's own files.
//!
//! The stream has a directory where only something in it was changed, or what husk itself writes there; such a
//! one counts as changed if something follows, as docker has it.

use std::collections::{BTreeSet, VecDeque};
use std::io::Read;

use husk_init::archive::tar::Reader;
use husk_init::archive::{Entry, Error, Kind, check_name};
use husk_init::job::PROBE_PATH;

use crate::image::Files;
use crate::image::tree::{join, split};

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The image does not have it.
    Added,
    /// The image has it otherwise.
    Changed,
    /// The image has it, and the machine does not.
    Deleted,
}

impl How {
    /// Docker's letter.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// A path that was changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened; nothing that another change does not say too, where there is none.
    pub how: Option<How>,
    /// To what: relative to the root.
    pub path: Vec<u8>,
    /// The layer's entry that says so; what follows from an entry before has none.
    pub entry: Option<Entry>,
}

/// Marks of the OCI image spec, "Whiteouts".
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What engines write in a root, and no image has of it: devices, names, and the programs of husk's own.
const ENGINES: [&str; 7] = [
    "/dev",
    "/proc",
    "/sys",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    PROBE_PATH,
];

/// What is no change of a machine's: what engines write, and what is in `volumes` of its image.
pub fn hidden(volumes: &[String]) -> Vec<Vec<u8>> {
    let volumes = volumes.iter().map(|path| {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.fold(String::new(), |path, name| path + "/" + name)
    });
    let all = ENGINES.map(str::to_owned).into_iter().chain(volumes);
    all.map(String::into_bytes).collect()
}

/// Reads changes.
#[derive(Debug)]
pub struct Changes<'f, R> {
    reader: Reader<R>,
    image: &'f Files,
    /// Directories of the image that nothing has followed yet, outermost first.
    above: Vec<Entry>,
    /// Directories that hide what the image has in them, and which of its names did not come again.
    opaque: Vec<(Vec<u8>, BTreeSet<Vec<u8>>)>,
    ready: VecDeque<Change>,
}

impl<'f, R: Read> Changes<'f, R> {
    /// From a stream of a machine's, whose image has `image`.
    pub fn new(from: R, image: &'f Files) -> Self {
        Self {
            reader: Reader::new(from),
            image,
            above: Vec::new(),
            opaque: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// The next change; the bytes of its file are in [`Changes::data`].
    pub fn next_change(&mut self) -> Result<Option<Change>, Error> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(Some(change));
            }
            let Some(entry) = self.reader.next_entry()? else {
                self.leave(None);
                return Ok(self.ready.pop_front());
            };
            check_name(&entry.name)?;
            self.take(entry);
        }
    }

    /// The bytes of the last change's file.
    pub fn data(&mut self) -> &mut impl Read {
        &mut self.reader
    }

    fn take(&mut self, entry: Entry) {
        self.leave(Some(&entry.name));
        let (folder, name) = split(&entry.name);
        if name == OPAQUE {
            return self.hide(folder.to_vec(), entry);
        }
        if let Some(gone) = name.strip_prefix(WHITEOUT) {
            let path = join(folder, gone);
            if self.image.look_at(&path).is_some() {
                self.emit_above();
                self.emit(Some(How::Deleted), path, Some(entry));
            }
            return;
        }
        if let Some((_, gone)) = self.opaque.iter_mut().find(|(opaque, _)| opaque == folder) {
            gone.remove(name);
        }
        match self.image.look_at(&entry.name) {
            Some(known) if known.directory && entry.kind == Kind::Directory => {
                let same = (u32::from(known.mode), known.uid, known.gid)
                    == (entry.mode, entry.uid, entry.gid);
                self.above.push(entry);
                if !same {
                    self.emit_above();
                }
            }
            known => {
                self.emit_above();
                let how = match known {
                    Some(_) => How::Changed,
                    None => How::Added,
                };
                let path = entry.name.clone();
                self.emit(Some(how), path, Some(entry));
            }
        }
    }

    /// A directory shows nothing of what the image has in it. Kernels say so of new ones too, which hide
    /// nothing.
    fn hide(&mut self, folder: Vec<u8>, entry: Entry) {
        let gone: BTreeSet<_> = self.image.names(&folder).map(<[u8]>::to_vec).collect();
        if gone.is_empty() || self.opaque.iter().any(|(known, _)| *known == folder) {
            return;
        }
        self.emit_above();
        self.opaque.push((folder.clone(), gone));
        self.emit(None, folder, Some(entry));
    }

    /// Forgets what `name` is not below, and says what is missing where the stream leaves an opaque directory.
    fn leave(&mut self, name: Option<&[u8]>) {
        let below = |folder: &[u8]| {
            let rest = name.and_then(|name| name.strip_prefix(folder));
            rest.is_some_and(|rest| rest.starts_with(b"/"))
        };
        self.above.retain(|entry| below(&entry.name));
        let left: Vec<_> = self
            .opaque
            .extract_if(.., |(folder, _)| !below(folder))
            .collect();
        for (folder, gone) in left {
            for name in gone {
                self.emit(Some(How::Deleted), join(&folder, &name), None);
            }
        }
    }

    fn emit_above(&mut self) {
        for entry in std::mem::take(&mut self.above) {
            let path = entry.name.clone();
            self.emit(Some(How::Changed), path, Some(entry));
        }
    }

    fn emit(&mut self, how: Option<How>, path: Vec<u8>, entry: Option<Entry>) {
        self.ready.push_back(Change { how, path, entry });
    }
}
