//! Networks on which machines reach one another, by name: what is known of them. Who is on one, its switch knows
//! ([`crate::net::switch`]).
//!
//! ```text
//! networks/            mode 0700; locked by who makes a network, so that no two have the same addresses
//! ├ NAME/              made aside and renamed to its place: it is whole, or it is not there
//! │ ├ network.json     its name, ID and addresses, when it was made, and its labels
//! │ ├ lock             locked by who joins or removes it, and by its switch while that ends
//! │ └ switch           where its switch listens, while machines are on it
//! └ .NAME-PID/         what is not finished, or not gone; a `prune` takes it away
//! ```

mod error;
mod store;

pub use crate::shelf::LOCK;
pub use error::Error;
pub use store::{Door, Draft, Networks, Record, SWITCH};
