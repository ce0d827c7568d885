//! The container's interface, made in the network namespace that will be the container's; and what ordinary users
//! may do there, as docker has it.

use std::os::fd::OwnedFd;

use husk_init::job::Interface;
use husk_init::network::{LAST_GROUP, NAME, join, open_to_all};

use super::enter::Entered;
use super::error::Error;
use crate::devices::virtio::net::header::HEADER_LEN;
use crate::sys::tun;

impl Entered {
    /// Makes the interface, sets it up, and gives the other end of its cable.
    pub fn make_interface(&self, interface: &Interface) -> Result<OwnedFd, Error> {
        let tap = tun::tap(NAME, HEADER_LEN).map_err(|source| Error::NoInterface { source })?;
        join(interface).map_err(Error::Refused)?;
        // A group that the container does not have may not be named.
        open_to_all(LAST_GROUP.min(self.ids - 1));
        Ok(tap)
    }
}
