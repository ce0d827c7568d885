//! What a workload sees of the world, and the world of it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Which network a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// None: no device, nothing but its own loopback.
    None,
    /// One of its own, whose far end are sockets of the process that runs it.
    #[default]
    User,
}

/// Whom a workload may reach. Nobody reaches the host's loopback, link-local addresses, and the metadata services of
/// clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Egress {
    /// Nobody. It still answers those that reach it.
    None,
    /// Who has a public address.
    Public,
    /// Everybody.
    #[default]
    Any,
}

/// What carries the bytes of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Streams.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port of the host's that leads to one of the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Where the host listens; port 0 is one of the host's choosing.
    pub host: SocketAddr,
    /// The machine's port.
    pub guest: u16,
    /// What carries it.
    pub transport: Transport,
}

/// The network of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networking {
    /// Which one.
    pub network: Network,
    /// Whether somebody asked for it.
    pub asked: bool,
    /// Whom the workload reaches.
    pub egress: Egress,
}
