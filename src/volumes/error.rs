//! What goes wrong with volumes.

use thiserror::Error;

use crate::shelf::Refused;

/// Why a volume cannot be had, or not be removed.
#[derive(Debug, Error)]
pub enum Error {
    /// A name that is none.
    #[error("{0}")]
    Name(String),
    /// There is no such volume.
    #[error("no volume `{name}`: {}", .hint.as_ref().map_or_else(
        || "see `husk volume ls`".to_owned(), |name| format!("did you mean `{name}`?")))]
    Unknown {
        /// As typed.
        name: String,
        /// A name that is nearly the same.
        hint: Option<String>,
    },
    /// Somebody uses it.
    #[error("volume `{0}` is in use: end the runs that see it first")]
    InUse(String),
    /// The host refuses something.
    #[error(transparent)]
    Host(#[from] Refused),
}
