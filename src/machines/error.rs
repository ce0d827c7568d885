//! What goes wrong with the machines on this host.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why nothing could be done with a machine.
#[derive(Debug, Error)]
pub enum Error {
    /// Nobody has this name or ID.
    #[error("no machine `{asked}`: {}", .hint.as_ref().map_or_else(
        || "`husk ps -a` lists them".to_owned(), |name| format!("did you mean `{name}`?")))]
    NoSuch {
        /// As typed.
        asked: String,
        /// A name that is nearly the same.
        hint: Option<String>,
    },
    /// The beginning of several IDs.
    #[error("`{0}` is the beginning of several machine IDs: give more digits")]
    Ambiguous(String),
    /// Somebody else has the name.
    #[error(
        "the name `{name}` is taken by machine {id}: remove or rename it, or choose another name"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it, 12 digits.
        id: String,
    },
    /// A name that none can have.
    #[error(
        "`{0}` is no name of a machine: write letters, digits, _ . and -, beginning with a letter or digit"
    )]
    BadName(String),
    /// It runs, and must not.
    #[error("machine `{0}` is running: stop it first, or add -f")]
    Running(String),
    /// It does not run, and must.
    #[error(
        "machine `{name}` is not running{}: `husk start` starts it",
        .why.as_ref().map_or_else(String::new, |why| format!(" ({why})"))
    )]
    NotRunning {
        /// The machine.
        name: String,
        /// What ended it, where that was not its workload.
        why: Option<String>,
    },
    /// It is halted.
    #[error("machine `{0}` is paused: `husk unpause` lets it go on")]
    Paused(String),
    /// It is not halted, and should be let go on.
    #[error("machine `{0}` is not paused")]
    NotPaused(String),
    /// It cannot become what somebody wants.
    #[error("machine `{name}` stays as it is: {why}")]
    Unchanged {
        /// The machine.
        name: String,
        /// Why, and what helps.
        why: String,
    },
    /// Somebody starts or removes it at this moment.
    #[error("machine `{0}` is being started or removed by somebody else: try again")]
    Busy(String),
    /// Its keeper does not answer, or refuses.
    #[error("the keeper of machine `{name}` {what}: `husk kill` ends it, `husk rm -f` removes it")]
    Keeper {
        /// The machine.
        name: String,
        /// How it answered.
        what: String,
    },
    /// A file of the machines' own.
    #[error("cannot {verb} `{path}`")]
    Disk {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The host has no randomness to give.
    #[error("cannot get random bytes from the kernel: {0}")]
    Random(getrandom::Error),
}

/// The error of trying `verb` on `path`.
pub(super) fn failed<E: Into<io::Error>>(
    verb: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(E) -> Error {
    let path = path.into();
    move |source| Error::Disk {
        verb,
        path,
        source: source.into(),
    }
}
