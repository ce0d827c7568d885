//! What can be wrong with an image or the store.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::digest::Digest;

/// Why an image could not be loaded, found or used.
#[derive(Debug, Error)]
pub enum Error {
    /// The text is not a name an image can have.
    #[error("`{0}` is not an image name: write name[:tag] in lower case, or an image ID")]
    BadReference(String),
    /// The store has no such image.
    #[error("no image `{reference}` in the store: {}", .hint.as_ref().map_or_else(
        || "`husk load -i FILE` takes one from an archive".to_owned(), |name| format!("did you mean `{name}`?")))]
    NotFound {
        /// The completed name.
        reference: String,
        /// A name that is nearly the same, or another tag of it.
        hint: Option<String>,
    },
    /// An ID that stands for several images.
    #[error("`{0}` is the beginning of several image IDs: give more digits")]
    Ambiguous(String),
    /// An ID of an image that people know by several names.
    #[error("image `{id}` has several names ({names}): remove each by its name")]
    SeveralNames {
        /// As typed.
        id: String,
        /// The names.
        names: String,
    },
    /// The archive or layout cannot be taken.
    #[error("cannot load `{origin}`: {fault}")]
    Load {
        /// The file, directory or stream.
        origin: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The store's own files.
    #[error("cannot {verb} `{path}`")]
    Store {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the store is not what husk wrote.
    #[error(
        "`{path}` in the store is damaged: `husk rmi` and `husk prune` remove it, `husk load` brings it back"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Written by a husk that does not exist yet.
    #[error(
        "the store `{path}` has format {found}, from a newer husk: this one knows {known}; update husk, or set HUSK_HOME"
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: String,
        /// Ours.
        known: u32,
    },
    /// Neither variable that says where the store is.
    #[error("there is no place for the store: set HUSK_HOME or HOME")]
    Homeless,
    /// A tree could not be written to a directory.
    #[error("cannot unpack `{entry}` of image {id}")]
    Unpack {
        /// The image.
        id: Digest,
        /// The path in the image, printable.
        entry: String,
        /// Why not.
        source: io::Error,
    },
    /// The layers do not make a file system.
    #[error("the layers of image {id} do not fit together: {refusal}")]
    Layers {
        /// The image.
        id: Digest,
        /// What and where.
        refusal: Refusal,
    },
}

/// What is wrong with an archive or a layout.
#[derive(Debug, Error)]
pub enum Fault {
    /// Reading it failed.
    #[error("{0}")]
    Unreadable(#[source] io::Error),
    /// No marks of any format that husk knows.
    #[error("it is no docker archive, OCI archive or OCI layout")]
    Unknown,
    /// It ends too early.
    #[error("it is truncated: {0}")]
    Truncated(String),
    /// A part that is named and not there.
    #[error("`{0}` is missing")]
    Missing(String),
    /// A part whose bytes have another digest than its name.
    #[error("{what} is not what it should be: {expected} was announced, {found} came")]
    WrongDigest {
        /// Which part.
        what: String,
        /// Announced.
        expected: Digest,
        /// Found.
        found: Digest,
    },
    /// A JSON document that breaks its format.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// Which document.
        what: String,
        /// How.
        why: String,
    },
    /// A media type that husk does not know.
    #[error("{what} has the unknown media type `{media_type}`")]
    MediaType {
        /// Which part.
        what: String,
        /// The type.
        media_type: String,
    },
    /// For another kind of machine.
    #[error("it is for {found}, and this machine is linux/amd64")]
    Platform {
        /// What it is for.
        found: String,
    },
    /// A layer is refused.
    #[error("layer {layer}: {refusal}")]
    Layer {
        /// The layer.
        layer: Digest,
        /// What and where.
        refusal: Refusal,
    },
    /// More than the limits allow.
    #[error("it has more than {limit}: if you trust it, load it with a larger {flag}")]
    TooLarge {
        /// How much, in words.
        limit: String,
        /// The flag that raises it.
        flag: &'static str,
    },
    /// The store could not take it.
    #[error("{0}")]
    Store(#[source] io::Error),
}

/// An entry that a layer may not have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("entry `{entry}`: {reason}")]
pub struct Refusal {
    /// The entry's name as it stands in the archive, printable.
    pub entry: String,
    /// Why not.
    pub reason: &'static str,
}

impl Refusal {
    /// Refuses `entry`.
    pub fn new(entry: &[u8], reason: &'static str) -> Self {
        Self {
            entry: printable(entry),
            reason,
        }
    }
}

/// Longest piece of a foreign name that is shown.
const SHOWN: usize = 200;

/// Foreign bytes for a message: no control characters, no endless line.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
            .chars()
            .collect::<Vec<_>>()
        })
        .collect()
}
