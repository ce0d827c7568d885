//! What a network is told while it serves its guest: that the guest is on one more network with other machines, or on one
//! less.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use crate::spec::Seat;
use crate::sys::lock::lock;

/// What changes.
#[derive(Debug)]
pub enum Change {
    /// This place is the guest's, by this connection to a switch.
    Join(Box<Seat>, OwnedFd),
    /// It is not on the network of this name any more.
    Leave(String),
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
