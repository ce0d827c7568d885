//! What is changed of a machine that is there: its name, its limits, its networks. Each change is one record
//! written in the place of another, under the lock of all machines.

use super::error::Error;
use super::folder::Folder;
use super::machine::Machine;
use super::record::Record;
use super::registry::{Machines, gone, no_such};
use crate::spec::{Change, Joining, RunRequest, Update};

/// So often is a machine changed that somebody starts or ends at that moment.
const MOST_TRIES: u32 = 8;

impl Machines {
    /// Gives a machine another name.
    pub fn rename(&self, machine: &Machine, name: &str) -> Result<(), Error> {
        let _registering = self.register()?;
        let id = &machine.record.id;
        let old = machine
            .folder
            .record()?
            .ok_or_else(|| no_such(id.short()))?;
        let name = self.free_name(name)?;
        self.link(&name, id)?;
        let record = Record {
            name,
            ..old.clone()
        };
        machine.folder.write_record(&record)?;
        self.unlink(&old.name, id)?;
        self.note(&record, "rename", &[("oldName", &old.name)]);
        Ok(())
    }

    /// Changes a machine, whether somebody keeps it or not.
    pub fn update(&self, mut machine: Machine, update: &Update) -> Result<(), Error> {
        let (id, name) = (machine.record.id.clone(), machine.record.name.clone());
        for _ in 0..MOST_TRIES {
            if machine.kept && machine.update_kept(update)? {
                return Ok(());
            }
            if let Some(held) = self.hold(machine)? {
                return self.amend(&held.machine.folder, update).map(drop);
            }
            // Somebody has just started it, or is about to end.
            machine = self.machine(&id)?.ok_or_else(|| no_such(id.short()))?;
        }
        Err(Error::Busy(name))
    }

    /// What is asked of the machine in `folder` now.
    pub fn request(&self, folder: &Folder) -> Result<RunRequest, Error> {
        let record = folder.record()?.ok_or_else(|| gone(folder))?;
        Ok(record.request)
    }

    /// Writes down what is asked of the machine in `folder` from now on.
    pub fn amend(&self, folder: &Folder, update: &Update) -> Result<Change, Error> {
        let _registering = self.register()?;
        let mut record = folder.record()?.ok_or_else(|| gone(folder))?;
        let change = record.update(update).map_err(|mistakes| Error::Unchanged {
            name: record.name.clone(),
            why: mistakes.to_string(),
        })?;
        folder.write_record(&record)?;
        self.note(&record, "update", &[]);
        Ok(change)
    }

    /// Changes the networks that a machine is on from its next start.
    pub fn set_networks(&self, machine: &Machine, networks: Vec<Joining>) -> Result<(), Error> {
        let _registering = self.register()?;
        let id = &machine.record.id;
        let mut record = machine
            .folder
            .record()?
            .ok_or_else(|| no_such(id.short()))?;
        record.request.networks = networks;
        machine.folder.write_record(&record)
    }
}
