//! How a network that somebody described, and its open files, become one.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::engine::{Door, Setup};
use super::plan::DNS_PORT;
use super::trunk::Trunk;
use crate::spec::VmNetwork;

impl Setup {
    /// That of `network`, whose doors have these `sockets`, a file for what is tried, and a socket for each place on
    /// a network; `None` where there are not as many sockets.
    pub fn new(
        network: VmNetwork,
        sockets: Vec<OwnedFd>,
        attempts: Option<OwnedFd>,
        trunks: Vec<OwnedFd>,
    ) -> Option<Self> {
        if sockets.len() != network.doors.len() || trunks.len() != network.seats.len() {
            return None;
        }
        let trunks = network.seats.into_iter().zip(trunks);
        let servers = network.resolvers.into_iter();
        let doors = sockets.into_iter().zip(network.doors);
        let door = |(socket, (guest, transport))| Door::new(socket, guest, transport);
        Some(Self {
            egress: network.egress,
            limits: network.limits,
            servers: servers.map(|ip| SocketAddr::new(ip, DNS_PORT)).collect(),
            hosts: network.hosts,
            doors: doors.map(door).collect(),
            attempts: attempts.map(File::from),
            trunks: trunks
                .map(|(seat, socket)| Trunk::new(seat, socket))
                .collect(),
            names_pass: false,
        })
    }
}
