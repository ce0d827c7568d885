//! The container's interface, made in the network namespace that will be the container's; and what ordinary users
//! may do there, as docker has it.

use std::fs;
use std::os::fd::OwnedFd;

use husk_init::job::Interface;
use husk_init::network::{NAME, join};

use super::enter::Entered;
use super::error::Error;
use crate::devices::virtio::net::header::HEADER_LEN;
use crate::sys::tun;

/// Who may send echo requests without privileges (icmp(7)): groups from one to another.
const PING_GROUPS: &str = "/proc/sys/net/ipv4/ping_group_range";

/// The last group that may be named there.
const LAST_GROUP: u32 = i32::MAX.cast_unsigned();

/// The first port that takes no privilege to listen on (ip(7)).
const FIRST_PORT: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

impl Entered {
    /// Makes the interface, sets it up, and gives the other end of its cable.
    pub fn make_interface(&self, interface: &Interface) -> Result<OwnedFd, Error> {
        let tap = tun::tap(NAME, HEADER_LEN).map_err(|source| Error::NoInterface { source })?;
        join(interface).map_err(Error::Refused)?;
        // A group that the container does not have may not be named.
        let last = LAST_GROUP.min(self.ids - 1);
        for (path, text) in [
            (PING_GROUPS, format!("0 {last}")),
            (FIRST_PORT, "0".to_owned()),
        ] {
            // Where the host's /proc is read-only, root alone may, by its capabilities.
            let _roots_alone = fs::write(path, text);
        }
        Ok(tap)
    }
}
