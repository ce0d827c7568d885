//! The names of machines: links to their folders, given and taken away under the lock of all machines. A
//! link counts if the record that it leads to has its name.

use rustix::fs::{AtFlags, readlinkat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::error::{Error, failed};
use super::id::Id;
use super::name::invent;
use super::registry::Machines;
use crate::spec::check_name;

/// So many names are invented before the host is believed to have all of them.
const MOST_NAMES: u32 = 64;

impl Machines {
    /// `name`, if nobody has it.
    pub(super) fn free_name(&self, name: &str) -> Result<String, Error> {
        check_name(name).map_err(|_| Error::BadName(name.to_owned()))?;
        match self.holder(name)? {
            Some(id) => Err(Error::NameTaken {
                name: name.to_owned(),
                id: id.short().to_owned(),
            }),
            None => Ok(name.to_owned()),
        }
    }

    pub(super) fn invent_name(&self) -> Result<String, Error> {
        let mut tries = 0;
        loop {
            match self.free_name(&invent(tries)?) {
                Err(Error::NameTaken { .. }) if tries < MOST_NAMES => tries += 1,
                name => return name,
            }
        }
    }

    /// The machine whose record has `name`.
    fn holder(&self, name: &str) -> Result<Option<Id>, Error> {
        let Some(id) = self.target(name)? else {
            return Ok(None);
        };
        let record = match self.open_folder(&id)? {
            Some(folder) => folder.record()?,
            None => None,
        };
        Ok(record.filter(|record| record.name == name).map(|_| id))
    }

    /// The ID that the link of `name` has.
    pub(super) fn target(&self, name: &str) -> Result<Option<Id>, Error> {
        let link = format!("names/{name}");
        match readlinkat(&self.folder, &link, Vec::new()) {
            Ok(text) => {
                let text = text.to_str().unwrap_or_default();
                Ok(text.strip_prefix("../").and_then(Id::parse))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("read", self.path.join(link))(errno)),
        }
    }

    /// Has `name` lead to `id`, whatever it led to.
    pub(super) fn link(&self, name: &str, id: &Id) -> Result<(), Error> {
        let link = format!("names/{name}");
        let target = format!("../{id}");
        let create = || symlinkat(&target, &self.folder, &link);
        let linked = match create() {
            // Nobody's, as was seen under the lock.
            Err(Errno::EXIST) => {
                unlinkat(&self.folder, &link, AtFlags::empty()).and_then(|()| create())
            }
            linked => linked,
        };
        linked.map_err(failed("create", self.path.join(link)))
    }

    /// Takes `name` away from `id`, if it has it.
    pub(super) fn unlink(&self, name: &str, id: &Id) -> Result<(), Error> {
        if self.target(name)?.as_ref() != Some(id) {
            return Ok(());
        }
        let link = format!("names/{name}");
        match unlinkat(&self.folder, &link, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove", self.path.join(link))(errno)),
        }
    }
}
