//! Init's own program beside the workload: it packs and unpacks, on its stdin and stdout, in the machine's
//! own root, and lists its processes. It is init's file, executed once more, so that it needs nothing of the image, and no image can
//! have another one in its place. In a container it is husk's.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::error::Tried;
use super::place::{directory, place};
use super::tar::{Reader, Writer};
use crate::job::Addresses;
use crate::{network, processes};

use super::{Error, Options, Owners, Rules, Source, Unpacking, pack, pack_changes, unpack};

/// The name that it is called by, where init itself is called by its file.
pub const NAME: &str = "husk-archiver";

/// Whether everything else in the machine stands still meanwhile. That is up to who runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Halt {
    /// It goes on.
    #[default]
    Nobody,
    /// It is halted where that can be; else it is said that it goes on.
    IfPossible,
    /// It is halted, or nothing is done.
    InAnyCase,
}

/// What it is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Pack `path` as `name`.
    Pack {
        /// What.
        path: Vec<u8>,
        /// What it is called in the archive.
        name: Vec<u8>,
        /// Whether `path` is followed where it is a link.
        follow: bool,
    },
    /// Pack everything but what is mounted on the root.
    Export,
    /// Copy what comes to `dest`, by docker's rules.
    Copy {
        /// Where to.
        dest: Vec<u8>,
        /// Whether owners are kept; otherwise the files are root's.
        keep_owners: bool,
    },
    /// Unpack what comes in the directory `dest`.
    Unpack {
        /// Where.
        dest: Vec<u8>,
    },
    /// Pack what was changed, as a layer.
    Changes {
        /// Whether files have their bytes.
        contents: bool,
        /// What is left out: absolute paths.
        hidden: Vec<Vec<u8>>,
        /// What else goes on.
        halt: Halt,
    },
    /// List the processes ([`crate::processes`]).
    Processes,
    /// Take these addresses, or give them up ([`crate::network`]).
    Addresses {
        /// Whether they are taken.
        add: bool,
        /// Which; their gateways say nothing.
        addresses: Vec<Addresses>,
    },
}

impl Order {
    /// The order as words, the program's name first.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let verb = match self {
            Self::Pack { follow: false, .. } => "pack",
            Self::Pack { follow: true, .. } => "pack-followed",
            Self::Export => "export",
            Self::Copy { keep_owners, .. } if *keep_owners => "copy-owned",
            Self::Copy { .. } => "copy",
            Self::Unpack { .. } => "unpack",
            Self::Changes {
                contents: false, ..
            } => "changed-names",
            Self::Changes { halt, .. } => CHANGES[*halt as usize],
            Self::Processes => "processes",
            Self::Addresses { add, .. } if *add => "take-addresses",
            Self::Addresses { .. } => "drop-addresses",
        };
        let mut words = vec![NAME.into(), verb.into()];
        match self {
            Self::Pack { path, name, .. } => words.extend([path.clone(), name.clone()]),
            Self::Export | Self::Processes => {}
            Self::Copy { dest, .. } | Self::Unpack { dest } => words.push(dest.clone()),
            Self::Changes { hidden, .. } => words.extend(hidden.iter().cloned()),
            Self::Addresses { addresses, .. } => words.extend(addresses.iter().map(write)),
        }
        words
    }

    /// The order that words are.
    fn read(words: &[Vec<u8>]) -> Option<Self> {
        let (verb, rest) = words.get(1..)?.split_first()?;
        Some(match (&verb[..], rest) {
            (b"pack" | b"pack-followed", [path, name]) => Self::Pack {
                path: path.clone(),
                name: name.clone(),
                follow: verb != b"pack",
            },
            (b"export", []) => Self::Export,
            (b"processes", []) => Self::Processes,
            (b"copy" | b"copy-owned", [dest]) => Self::Copy {
                dest: dest.clone(),
                keep_owners: verb != b"copy",
            },
            (b"unpack", [dest]) => Self::Unpack { dest: dest.clone() },
            (b"changed-names", hidden) => Self::Changes {
                contents: false,
                hidden: hidden.to_vec(),
                halt: Halt::Nobody,
            },
            (verb, hidden) if halt(verb).is_some() => Self::Changes {
                contents: true,
                hidden: hidden.to_vec(),
                halt: halt(verb)?,
            },
            (b"take-addresses" | b"drop-addresses", rest) => Self::Addresses {
                add: verb == b"take-addresses",
                addresses: rest.iter().map(|word| read(word)).collect::<Option<_>>()?,
            },
            _ => return None,
        })
    }
}

/// The verbs of changes with their contents, by what else goes on.
const CHANGES: [&str; 3] = ["changes", "changes-halted-if-possible", "changes-halted"];

fn halt(verb: &[u8]) -> Option<Halt> {
    let all = [Halt::Nobody, Halt::IfPossible, Halt::InAnyCase];
    let mut all = all.into_iter().zip(CHANGES);
    all.find_map(|(halt, word)| (word.as_bytes() == verb).then_some(halt))
}

/// Where `words`, the first of which says nothing, want everything else halted: how strictly, and the words without that.
#[cold]
pub fn halting(words: &[Vec<u8>]) -> Option<(Halt, Vec<Vec<u8>>)> {
    let halt = halt(words.get(1)?).filter(|halt| *halt != Halt::Nobody)?;
    let mut words = words.to_vec();
    words[1] = CHANGES[Halt::Nobody as usize].into();
    Some((halt, words))
}

/// An address as a word: its digits, and the bits of its network's part behind a slash.
fn write(addresses: &Addresses) -> Vec<u8> {
    let digits = addresses.own.iter().map(|byte| format!("{byte:02x}"));
    format!("{}/{}", digits.collect::<String>(), addresses.prefix).into_bytes()
}

/// The address that a word is.
fn read(word: &[u8]) -> Option<Addresses> {
    let (digits, prefix) = std::str::from_utf8(word).ok()?.split_once('/')?;
    let bytes = digits.as_bytes().chunks(2);
    let bytes = bytes.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    Some(Addresses {
        own: bytes.collect::<Option<_>>()?,
        gateway: Vec::new(),
        prefix: prefix.parse().ok()?,
    })
}

/// Does what `words` say, the first of which says nothing; the exit status. The upper directory of the root is `upper`, open for reading.
pub fn run(words: &[Vec<u8>], upper: Option<OwnedFd>) -> u8 {
    let done = match Order::read(words) {
        Some(order) => carry_out(order, upper),
        None => Err(Error::Malformed("unknown words")),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            // Nobody is left to tell.
            let _closed = own(io::stderr().as_fd()).and_then(|mut to| writeln!(to, "{error}"));
            1
        }
    }
}

/// A descriptor of its own, without a buffer and a lock.
fn own(fd: BorrowedFd<'_>) -> io::Result<File> {
    fd.try_clone_to_owned().map(File::from)
}

fn carry_out(order: Order, upper: Option<OwnedFd>) -> Result<(), Error> {
    match order {
        Order::Pack { path, name, follow } => {
            let options = Options {
                follow,
                one_system: false,
            };
            let mut to = output()?;
            pack(&path, &name, options, &mut to)?;
            to.finish().map(drop)
        }
        Order::Export => {
            let options = Options {
                follow: false,
                one_system: true,
            };
            let mut to = output()?;
            pack(b"/", b"", options, &mut to)?;
            to.finish().map(drop)
        }
        Order::Processes => {
            let mut to = own(io::stdout().as_fd())?;
            let all = processes::all();
            let records: Vec<_> = all.iter().flat_map(|one| one.write()).collect();
            Ok(to.write_all(&records)?)
        }
        Order::Addresses { add, addresses } => {
            let verb = if add {
                "take addresses of"
            } else {
                "drop addresses of"
            };
            network::change(add, &addresses).tried(verb, network::NAME.to_bytes())
        }
        Order::Copy { dest, keep_owners } => copy_in(&dest, keep_owners),
        Order::Unpack { dest } => {
            let rules = Rules {
                owners: Owners::Kept,
                wary: false,
                parents: true,
            };
            let mut nothing = |_: &[u8], _: &str| {};
            let unpacking = Unpacking::new(directory(&dest)?, None, rules, &mut nothing);
            unpack(&mut input()?, None, unpacking)
        }
        Order::Changes {
            contents, hidden, ..
        } => {
            let upper = upper.ok_or(Error::Malformed("nobody knows what was changed"))?;
            let mut to = output()?;
            pack_changes(upper, &hidden, contents, &mut to)?;
            to.finish().map(drop)
        }
    }
}

fn copy_in(dest: &[u8], keep_owners: bool) -> Result<(), Error> {
    let mut from = input()?;
    let Some(first) = from.next_entry()? else {
        return Err(Error::Malformed("it is empty"));
    };
    let source = Source {
        name: &first.name,
        kind: first.kind,
    };
    let place = place(dest, source)?;
    let root = first.name.clone();
    let rules = Rules {
        owners: match keep_owners {
            true => Owners::Kept,
            false => Owners::Mine,
        },
        wary: false,
        parents: false,
    };
    let mut nothing = |_: &[u8], _: &str| {};
    let unpacking = Unpacking::new(place, Some(&root), rules, &mut nothing);
    unpack(&mut from, Some(first), unpacking)
}

fn input() -> Result<Reader<File>, Error> {
    Ok(Reader::new(own(io::stdin().as_fd())?))
}

fn output() -> Result<Writer<io::BufWriter<File>>, Error> {
    let to = own(io::stdout().as_fd())?;
    Ok(Writer::new(io::BufWriter::with_capacity(super::CHUNK, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(halt: Halt) -> Order {
        Order::Changes {
            contents: true,
            hidden: vec![b"/x".to_vec()],
            halt,
        }
    }

    #[test]
    fn orders_are_words_and_words_are_orders() {
        let orders = [
            Order::Pack {
                path: b"/a".to_vec(),
                name: b"a".to_vec(),
                follow: true,
            },
            Order::Export,
            Order::Processes,
            Order::Addresses {
                add: true,
                addresses: vec![Addresses {
                    own: vec![10, 5, 0, 255],
                    gateway: Vec::new(),
                    prefix: 24,
                }],
            },
            Order::Copy {
                dest: b"/".to_vec(),
                keep_owners: true,
            },
            Order::Unpack {
                dest: b"/x".to_vec(),
            },
            Order::Changes {
                contents: false,
                hidden: vec![b"/etc/hosts".to_vec()],
                halt: Halt::Nobody,
            },
            changes(Halt::Nobody),
            changes(Halt::IfPossible),
            changes(Halt::InAnyCase),
        ];
        for order in orders {
            assert_eq!(Order::read(&order.words()), Some(order));
        }
        assert_eq!(halting(&changes(Halt::Nobody).words()), None);
        for halt in [Halt::IfPossible, Halt::InAnyCase] {
            let plain = changes(Halt::Nobody).words();
            assert_eq!(halting(&changes(halt).words()), Some((halt, plain)));
        }
        assert_eq!(Order::read(&[NAME.into(), b"pack".to_vec()]), None);
    }
}
