//! A layer on its way into the store, on two threads: one reads, verifies and decompresses, the
//! other verifies what comes out, takes it apart and writes it.
//!
//! ```text
//!  thread "layer"                                 caller
//!  part ─▶ hash: blob digest ─▶ decompress ─▶ │chunks│ ─▶ hash: diffID ─▶ tar ─▶ blob, tree
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::blob::BlobWriter;
use super::codec::TreeWriter;
use super::compress::decompress;
use super::digest::{Digest, Hashing};
use super::error::Fault;
use super::layer::{Sink, Spoilt, unpack};
use super::limits::Limits;
use super::manifest::LayerPart;
use super::parts::Parts;
use super::tar::TarError;

/// Bytes handed over at once.
const CHUNK: usize = 256 << 10;

/// Chunks on their way: the memory that a load takes does not depend on the image.
const CHUNKS: usize = 8;

/// What an image may still take, and of what.
#[derive(Debug)]
pub struct Budget {
    /// What is left.
    pub left: Limits,
    /// What there was.
    pub limits: Limits,
}

/// The files of a layer, below its folder.
pub const BLOB: &str = "blob";
/// See [`BLOB`].
pub const TREE: &str = "tree";

/// Unpacks `layer` of `parts` into `folder`, and verifies it.
pub fn take_layer(
    parts: &Parts,
    layer: &LayerPart,
    folder: &Path,
    budget: &mut Budget,
) -> Result<(), Fault> {
    let Some(part) = parts.open(&layer.part)? else {
        return Err(Fault::Missing(layer.part.clone()));
    };
    let (sender, receiver) = sync_channel(CHUNKS);
    let (unpacked, blob) = thread::scope(|scope| {
        let reader = thread::Builder::new().name("layer".to_owned());
        let reader = reader
            .spawn_scoped(scope, move || feed(part, &sender))
            .map_err(Fault::Store)?;
        let unpacked = write(receiver, folder, budget);
        let blob = reader
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("its reader panicked")));
        Ok((unpacked, blob))
    })?;
    // Bytes that are not the announced ones explain every other fault.
    if let (Some(expected), Ok(found)) = (layer.blob, &blob) {
        check(&layer.part, expected, *found)?;
    }
    let diff_id = unpacked.map_err(|spoilt| name(spoilt, layer))?;
    blob.map_err(Fault::Unreadable)?;
    check(
        &format!("the content of {}", layer.part),
        layer.diff_id,
        diff_id,
    )
}

/// Unpacks a plain tar that somebody trusted less than a file sends into `folder`; its digest.
pub fn take_stream(
    layer: impl Read + Send,
    folder: &Path,
    budget: &mut Budget,
) -> Result<Digest, Fault> {
    let (sender, receiver) = sync_channel(CHUNKS);
    let (unpacked, read) = thread::scope(|scope| {
        let reader = thread::Builder::new().name("layer".to_owned());
        let reader = reader
            .spawn_scoped(scope, move || feed(layer, &sender))
            .map_err(Fault::Store)?;
        let unpacked = write(receiver, folder, budget);
        let read = reader
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("its reader panicked")));
        Ok((unpacked, read))
    })?;
    // What a reader says of its end explains every other fault.
    read.map_err(Fault::Unreadable)?;
    unpacked.map_err(|spoilt| {
        let why = match spoilt {
            Spoilt::Refused(refusal) => refusal.to_string(),
            Spoilt::Fault(fault) => return fault,
            Spoilt::Archive(TarError::Io(error)) => return Fault::Unreadable(error),
            Spoilt::Archive(TarError::Malformed(why)) => why.to_owned(),
        };
        Fault::Malformed {
            what: "the layer".to_owned(),
            why,
        }
    })
}

/// Sends the plain bytes of `part`; gives the digest of what it was, whatever became of them.
fn feed(part: impl Read + Send, chunks: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<Digest> {
    let mut hashing = Hashing::new(part);
    let mut plain = decompress(&mut hashing)?;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let outcome = (&mut plain).take(CHUNK as u64).read_to_end(&mut chunk);
        let end = matches!(outcome, Ok(0));
        let message = outcome.map(|_| chunk);
        let failed = message.is_err();
        if end || chunks.send(message).is_err() || failed {
            break;
        }
    }
    drop(plain);
    hashing.finish()
}

fn write(
    chunks: Receiver<io::Result<Vec<u8>>>,
    folder: &Path,
    budget: &mut Budget,
) -> Result<Digest, Spoilt> {
    let create = |name| File::create_new(folder.join(name)).map_err(Fault::Store);
    let mut blob = BlobWriter::new(create(BLOB)?);
    let mut tree = TreeWriter::new(BufWriter::new(create(TREE)?)).map_err(Fault::Store)?;
    let mut plain = Hashing::new(Chunks {
        chunks,
        current: Vec::new(),
        at: 0,
    });
    let mut push = |entry: &_| tree.push(entry);
    let mut sink = Sink {
        blob: &mut blob,
        entry: &mut push,
    };
    unpack(&mut plain, &mut sink, &mut budget.left, &budget.limits)?;
    let len = blob.finish().map_err(Fault::Store)?;
    tree.finish(len).map_err(Fault::Store)?;
    Ok(plain.finish().map_err(TarError::Io)?)
}

/// Reads what another thread sends.
struct Chunks {
    chunks: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            let Ok(next) = self.chunks.recv() else {
                return Ok(0);
            };
            (self.current, self.at) = (next?, 0);
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn check(what: &str, expected: Digest, found: Digest) -> Result<(), Fault> {
    if expected == found {
        return Ok(());
    }
    Err(Fault::WrongDigest {
        what: what.to_owned(),
        expected,
        found,
    })
}

fn name(spoilt: Spoilt, layer: &LayerPart) -> Fault {
    let digest = layer.blob.unwrap_or(layer.diff_id);
    match spoilt {
        Spoilt::Refused(refusal) => Fault::Layer {
            layer: digest,
            refusal,
        },
        Spoilt::Fault(fault) => fault,
        Spoilt::Archive(TarError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Fault::Truncated(format!("layer {digest} ends too early"))
        }
        Spoilt::Archive(TarError::Io(error)) => Fault::Unreadable(error),
        Spoilt::Archive(TarError::Malformed(why)) => Fault::Malformed {
            what: format!("layer {digest}"),
            why: why.to_owned(),
        },
    }
}
