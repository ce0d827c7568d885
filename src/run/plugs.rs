//! What changes the networks of a machine that runs, behind either wall.

use std::io;
use std::os::fd::OwnedFd;

use crate::net;
use crate::spec::Seat;

/// A way to it, for any thread; none where the machine has no network.
#[derive(Debug, Default)]
pub struct Plugs(pub Option<net::Plugs>);

impl Plugs {
    /// It has this place, by `trunk`, from now on; why it cannot, as the rest of a sentence about who keeps it.
    pub fn join(&self, seat: Seat, trunk: &OwnedFd) -> Result<(), String> {
        self.change(|plugs| plugs.join(seat, trunk))
    }

    /// It has none on `network` any more.
    pub fn leave(&self, network: &str) -> Result<(), String> {
        self.change(|plugs| plugs.leave(network))
    }

    fn change(&self, order: impl FnOnce(&net::Plugs) -> io::Result<()>) -> Result<(), String> {
        match &self.0 {
            None => Err("keeps a machine without a network".to_owned()),
            Some(plugs) => {
                order(plugs).map_err(|error| format!("cannot reach its network ({error})"))
            }
        }
    }
}
