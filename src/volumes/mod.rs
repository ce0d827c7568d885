//! Named volumes: folders that outlive the runs that see them.
//!
//! ```text
//! volumes/             mode 0700: what is set-uid in a volume is nothing for the host's other users
//! ├ NAME/              made aside and renamed to its place: it is whole, or it is not there
//! │ ├ data/            what runs see
//! │ ├ lock             locked, shared, by who uses it; exclusive by who fills or removes it
//! │ └ volume.json      its name, when it was made, and its labels
//! └ .NAME-PID/         what is not finished, or not gone; a `prune` takes it away
//! ```

mod error;
mod seed;
mod store;
mod time;

pub use error::Error;
pub use store::{Lease, Record, Volume, Volumes};
