//! What changes the networks of a machine that runs, behind either wall.

use std::io;
use std::os::fd::OwnedFd;

use crate::spec::Seat;
use crate::{container, vmm};

/// A way to it, for any thread.
#[derive(Debug, Default)]
pub enum Plugs {
    /// There is none: the machine has no network.
    #[default]
    None,
    /// A machine's.
    Machine(vmm::Plugs),
    /// A container's.
    Container(container::Plugs),
}

impl Plugs {
    /// It has this place, by `trunk`, from now on; why it cannot, as the rest of a sentence about who keeps it.
    pub fn join(&self, seat: Seat, trunk: &OwnedFd) -> Result<(), String> {
        match self {
            Self::None => Err(without()),
            Self::Machine(plugs) => plugs.join(seat, trunk).map_err(|error| lost(&error)),
            Self::Container(plugs) => plugs.join(seat, trunk).map_err(|error| lost(&error)),
        }
    }

    /// It has none on `network` any more.
    pub fn leave(&self, network: &str) -> Result<(), String> {
        match self {
            Self::None => Err(without()),
            Self::Machine(plugs) => plugs.leave(network).map_err(|error| lost(&error)),
            Self::Container(plugs) => plugs.leave(network).map_err(|error| lost(&error)),
        }
    }
}

fn without() -> String {
    "keeps a machine without a network".to_owned()
}

fn lost(error: &io::Error) -> String {
    format!("cannot reach its network ({error})")
}
