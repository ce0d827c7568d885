//! What goes wrong with networks.

use thiserror::Error;

use crate::shelf::Refused;

/// Why a network cannot be had, or not be removed.
#[derive(Debug, Error)]
pub enum Error {
    /// A name, or addresses, that are none.
    #[error("{0}")]
    Asked(String),
    /// There is no such network.
    #[error("no network `{name}`: {}", .hint.as_ref().map_or_else(
        || "see `husk network ls`".to_owned(), |name| format!("did you mean `{name}`?")))]
    Unknown {
        /// As typed.
        name: String,
        /// A name that is nearly the same.
        hint: Option<String>,
    },
    /// The beginning of several IDs.
    #[error("`{0}` is the beginning of several network IDs: give more digits")]
    Ambiguous(String),
    /// Somebody made one of this name.
    #[error("network `{0}` is there already: choose another name, or `husk network rm` it first")]
    Taken(String),
    /// Another network has these addresses.
    #[error("network `{other}` has addresses of `{asked}` already: choose another --subnet")]
    Overlaps {
        /// What was asked for.
        asked: String,
        /// Who has them.
        other: String,
    },
    /// All addresses are given away.
    #[error("no addresses are left for one more network: give --subnet, or `husk network prune`")]
    Full,
    /// A machine is on it.
    #[error(
        "network `{network}` is in use by machine `{machine}`: remove it, or `husk network disconnect` it first"
    )]
    InUse {
        /// The network.
        network: String,
        /// Who is on it.
        machine: String,
    },
    /// The host has no randomness to give.
    #[error("cannot get random bytes from the kernel: {0}")]
    Random(getrandom::Error),
    /// The host refuses something.
    #[error(transparent)]
    Host(#[from] Refused),
}
