//! What a network is told while it serves its guest: that the guest is on one more network with other machines, or on one
//! less.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::spec::Seat;
use crate::sys::lock::lock;
use crate::sys::seqpacket::Seqpacket;

/// What changes.
#[derive(Debug)]
pub enum Change {
    /// This place is the guest's, by this connection to a switch.
    Join(Box<Seat>, OwnedFd),
    /// It is not on the network of this name any more.
    Leave(String),
}

/// The same, as an order to the process that serves the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rewiring {
    /// The guest has this place on one more network. File: a connection to the switch.
    Join(Box<Seat>),
    /// It has none any more on the network of this name.
    Leave {
        /// The network.
        network: String,
    },
}

impl Rewiring {
    /// With the file that came with it; `None` where it came without one that it needs.
    pub fn with(self, file: Option<OwnedFd>) -> Option<Change> {
        match self {
            Self::Join(seat) => Some(Change::Join(seat, file?)),
            Self::Leave { network } => Some(Change::Leave(network)),
        }
    }
}

/// A way to that process, for any thread.
#[derive(Debug)]
pub struct Plugs {
    socket: Seqpacket,
    order: fn(Rewiring) -> serde_json::Result<Vec<u8>>,
}

impl Plugs {
    /// By `socket`, where such an order is said as `order` has it.
    pub fn over(socket: Seqpacket, order: fn(Rewiring) -> serde_json::Result<Vec<u8>>) -> Self {
        Self { socket, order }
    }

    /// The guest has this place, by `trunk`, from now on.
    pub fn join(&self, seat: Seat, trunk: &OwnedFd) -> io::Result<()> {
        self.say(Rewiring::Join(Box::new(seat)), &[trunk.as_fd()])
    }

    /// It has none on `network` any more.
    pub fn leave(&self, network: &str) -> io::Result<()> {
        let network = network.to_owned();
        self.say(Rewiring::Leave { network }, &[])
    }

    /// One that does not listen must not stop who looks after it.
    fn say(&self, rewiring: Rewiring, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.send_files_now(&(self.order)(rewiring)?, files)
    }
}

/// Where it is put for a network, by any thread. Whoever serves it has [`Peer::poll`] look at it.
///
/// [`Peer::poll`]: super::Peer::poll
#[derive(Debug, Clone, Default)]
pub struct Changes(Arc<Mutex<Vec<Change>>>);

impl Changes {
    /// Puts one there.
    pub fn put(&self, change: Change) {
        lock(&self.0).push(change);
    }

    /// Takes all.
    pub(super) fn take(&self) -> Vec<Change> {
        mem::take(&mut *lock(&self.0))
    }
}
