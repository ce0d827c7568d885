//! The machines of this host: what was asked of each, how far it is, its output, and how to reach who
//! keeps it. A container of `--wall container` is one of them.
//!
//! ```text
//! machines/ID/            64 hexadecimal digits
//!    record.json          what was asked: written before anybody can find it, then only renamed
//!    state.json           how far it is: replaced whole, by the keeper
//!    lock                 locked as long as the keeper lives: the truth about "running"
//!    control              the keeper's socket
//!    log                  what the workload said, where it runs in the background
//!    attempts             what it tried to reach: written by the machine's own process
//! machines/names/NAME     leads to ../ID
//! machines/events         what happened
//! ```
//!
//! There is no daemon. The keeper of a machine is the process of `husk run` itself, with or without a
//! terminal, and everybody else reads files and asks the keeper. Whoever is killed at whatever
//! moment leaves files that say the truth: "running" counts only under a held lock, a folder without a record
//! is nobody's, and a name counts only if the record has it too.

mod changes;
mod control;
mod error;
mod folder;
mod growth;
mod health;
mod id;
mod journal;
mod log;
mod machine;
mod name;
mod names;
mod reach;
mod record;
mod registry;
mod state;

pub use control::{Answer, Attend, Audience, Caller, Control, Line, Reply, Request};
pub use error::Error;
pub use folder::{Folder, Lock, read_attempts};
pub use growth::Growth;
pub use health::{Checked, Health, Wellness};
pub use id::Id;
pub use journal::{Actor, Event, Journal};
pub use log::{Cursor, Log, Piece, Stream};
pub use machine::{Held, Listed, Machine};
pub use record::{Record, Resolved};
pub use registry::Machines;
pub use state::{State, Status};

#[cfg(test)]
mod tests;
