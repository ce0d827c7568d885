//! What is known of a machine from its beginning: what was asked, and what became of it.

use serde::{Deserialize, Serialize};

use super::id::Id;
use crate::spec::time::Nanoseconds;
use crate::spec::{Change, Cpus, Lifecycle, RunRequest, SpecError, Update};

/// A machine, as it was asked for. Only its name changes, and what `update` may.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its ID.
    pub id: Id,
    /// Its name; the one that `names` agrees on.
    pub name: String,
    /// When it was made.
    pub created: Nanoseconds,
    /// The image as typed.
    pub image: String,
    /// The image itself: `sha256:` and 64 digits.
    pub image_id: String,
    /// What was asked.
    pub request: RunRequest,
    /// What the request and the image made of it.
    pub resolved: Resolved,
}

/// What runs, for people who ask.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resolved {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `KEY=VALUE` each.
    pub env: Vec<String>,
    /// Working directory.
    pub workdir: String,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// Host name.
    pub hostname: String,
    /// Memory, bytes.
    pub memory: u64,
    /// CPUs.
    pub cpus: Cpus,
    /// What asks it to stop: a number.
    pub stop_signal: u8,
}

impl Record {
    /// What is asked of it from now on.
    pub fn update(&mut self, update: &Update) -> Result<Change, SpecError> {
        let change = update.read(&self.request)?;
        update.apply(&mut self.request);
        let resolved = &mut self.resolved;
        resolved.memory = change.memory.unwrap_or(resolved.memory);
        resolved.cpus = change.cpus.unwrap_or(resolved.cpus);
        Ok(change)
    }

    /// What was asked about its life.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.request.lifecycle
    }
}
