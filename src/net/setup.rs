//! How a network that somebody described, and its open files, become one.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::engine::{Door, Setup};
use super::plan::DNS_PORT;
use crate::spec::VmNetwork;

impl Setup {
    /// That of `network`, whose doors have these `sockets`, and a file for what is tried; `None` where there are not
    /// as many sockets.
    pub fn new(
        network: VmNetwork,
        sockets: Vec<OwnedFd>,
        attempts: Option<OwnedFd>,
    ) -> Option<Self> {
        if sockets.len() != network.doors.len() {
            return None;
        }
        let servers = network.resolvers.into_iter();
        let doors = sockets.into_iter().zip(network.doors);
        let door = |(socket, (guest, transport))| Door {
            socket,
            guest,
            transport,
        };
        Some(Self {
            egress: network.egress,
            limits: network.limits,
            servers: servers.map(|ip| SocketAddr::new(ip, DNS_PORT)).collect(),
            hosts: network.hosts,
            doors: doors.map(door).collect(),
            attempts: attempts.map(File::from),
        })
    }
}
