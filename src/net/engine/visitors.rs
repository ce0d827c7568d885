//! Ports of the host's that lead to the guest: who comes in by one is a conversation like any other, begun by us.
//!
//! The guest sees who it is, as far as there is an address for it on its cable: clients on the host's own loopback, and
//! those of IPv6, come from the gateway. The guest is spoken to in IPv4, which every server listens to.
//!
//! A crowd waits on the host's side. A guest's kernel keeps a short list of those who are half connected; with more it
//! forgets them and believes in cookies, and who waits for the server to speak first may be left alone for ever.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, set_tcp_nodelay};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, acceptfrom_with, recvfrom, sendto};

use super::{MOST_REPLIES, Network, addressed};
use crate::net::flows::{Id, Key, Kind, Moved, NewFlow};
use crate::net::plan::GUEST_MAC;
use crate::net::policy;
use crate::net::tcp::TcpFlow;
use crate::net::wire;
use crate::spec::{Carrier, Transport};

/// A socket of the host's that listens, or has datagrams come, for a port of the guest's.
#[derive(Debug)]
pub struct Door {
    /// The socket; it waits for nothing.
    socket: OwnedFd,
    /// The guest's port.
    guest: u16,
    /// What comes in.
    transport: Transport,
    /// Counts the connections that the guest has not answered: each has one.
    calls: Arc<()>,
}

impl Door {
    /// A `socket` of the host's for port `guest`.
    pub fn new(socket: OwnedFd, guest: u16, transport: Transport) -> Self {
        Self {
            socket,
            guest,
            transport,
            calls: Arc::default(),
        }
    }

    /// Whether the guest has to answer first.
    fn is_full(&self) -> bool {
        Arc::strong_count(&self.calls) > MOST_CALLS
    }
}

/// Most connections by one door that the guest has not answered: fewer than the least that servers keep in line, which
/// is 128 where nobody asks for another number.
const MOST_CALLS: usize = 64;

/// How long nobody is let in where this host has no file for it.
const BETWEEN: Duration = Duration::from_millis(100);

/// One client of a door for datagrams.
#[derive(Debug)]
pub struct Visit {
    /// Which door.
    door: usize,
    /// Who.
    client: SocketAddr,
}

/// Events of doors have numbers of their own: no flow is given for the 0th time.
pub fn token(door: usize) -> u64 {
    u64::try_from(door).expect("a usize has 64 bits") << 32
}

/// The door of a token, if it is one's; numbers behind the last one are those of networks.
pub fn door_of(token: u64) -> Option<usize> {
    let is_door = token & u64::from(u32::MAX) == 0;
    usize::try_from(token >> 32).ok().filter(|_| is_door)
}

impl Network {
    /// Watches all doors.
    pub(super) fn open_doors(&self) -> io::Result<()> {
        let mut doors = self.doors.iter().enumerate();
        doors.try_for_each(|(number, door)| self.poller.watch(&door.socket, token(number)))
    }

    /// Somebody is at a door.
    pub(super) fn knock(&mut self, door: usize) {
        if !self.knocking.contains(&door) {
            self.knocking.push_back(door);
        }
    }

    /// Lets in who is at the doors, while the guest takes what they bring.
    pub(super) fn let_in(&mut self, now: Instant) {
        let mut full = 0;
        while self.replies.len() < MOST_REPLIES / 2
            && self.until_files(now).is_none_or(|left| left.is_zero())
            && full < self.knocking.len()
            && let Some(number) = self.knocking.front().copied()
        {
            let Some(door) = self.doors.get(number) else {
                return;
            };
            if door.is_full() {
                full += 1;
                self.knocking.rotate_left(1);
                continue;
            }
            let more = match door.transport {
                Transport::Tcp => self.accept(number, now),
                Transport::Udp => self.hear(number, now),
            };
            if !more {
                self.knocking.pop_front();
            }
        }
    }

    /// How long until somebody is let in again, where somebody waits and this host had no file for it.
    pub(super) fn until_files(&self, now: Instant) -> Option<Duration> {
        let again = self.files_again.filter(|_| !self.knocking.is_empty())?;
        Some(again.saturating_duration_since(now))
    }

    /// One connection; false when nobody waits.
    fn accept(&mut self, number: usize, now: Instant) -> bool {
        let door = &self.doors[number];
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, client) = match acceptfrom_with(&door.socket, flags) {
            Ok((socket, client)) => (socket, client.and_then(|any| any.try_into().ok())),
            Err(Errno::INTR | Errno::CONNABORTED) => return true,
            // It waits on, and nobody tells us of it again.
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                self.files_again = Some(now + BETWEEN);
                return true;
            }
            Err(_) => return false,
        };
        let guest = SocketAddr::new(self.plan.guest_v4().into(), door.guest);
        let (Some(client), true) = (client, self.make_room(now)) else {
            // Refused as if nobody listened.
            let _as_well = set_socket_linger(&socket, Some(Duration::ZERO));
            return true;
        };
        // Who sends decides how much at once.
        let _slower = set_tcp_nodelay(&socket, true);
        let key = self.visitor(Carrier::Tcp, guest, client);
        let limits = self.limits(guest.ip());
        let call = Arc::clone(&self.doors[number].calls);
        let tcp = TcpFlow::calling(socket, call, self.random.next(), limits);
        if let Some(id) = self.begin(coming(key), Kind::Tcp(Box::new(tcp)), now) {
            self.line_up(id);
        }
        true
    }

    /// One datagram; false when there is none.
    fn hear(&mut self, number: usize, now: Instant) -> bool {
        let door = &self.doors[number];
        let mut buffer = vec![0; 64 << 10];
        let (len, client) = match recvfrom(&door.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, len, client)) => (len, client.and_then(|any| SocketAddr::try_from(any).ok())),
            // An answer of the guest's came to nothing, or we were interrupted.
            Err(Errno::CONNREFUSED | Errno::INTR) => return true,
            Err(_) => return false,
        };
        let guest = SocketAddr::new(self.plan.guest_v4().into(), door.guest);
        let is_too_much = self.share(now).received == 0;
        let Some(client) = client.filter(|_| !is_too_much) else {
            return true;
        };
        let Some(peer) = self.find_visit(number, guest, client, now) else {
            return true;
        };
        let at = addressed(GUEST_MAC, peer.ip(), guest.ip());
        let ports = (peer.port(), guest.port());
        self.reply(|frame| wire::write_udp(frame, &at, ports, &buffer[..len]));
        self.spend(Moved {
            sent: 0,
            received: len,
        });
        true
    }

    /// Who `client` of door `number` is for the guest.
    fn find_visit(
        &mut self,
        number: usize,
        guest: SocketAddr,
        client: SocketAddr,
        now: Instant,
    ) -> Option<SocketAddr> {
        if let Some(id) = self.visits.get(&(number, client)).copied()
            && let Some(flow) = self.flows.get(id)
        {
            flow.last = now;
            return Some(flow.key.peer);
        }
        if !self.make_room(now) {
            return None;
        }
        // Those of whom nothing was heard for long are forgotten with their flows; now and then, for all are looked at.
        let flows = &mut self.flows;
        if self.visits.len() >= 2 * flows.len() {
            self.visits.retain(|_, id| flows.get(*id).is_some());
        }
        let key = self.visitor(Carrier::Udp, guest, client);
        let visit = Visit {
            door: number,
            client,
        };
        let id = self.flows.add(coming(key), Kind::Visit(visit), now);
        self.visits.insert((number, client), id);
        Some(key.peer)
    }

    /// The guest answers a visitor.
    pub(super) fn answer_visit(&mut self, id: Id, payload: &[u8]) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        if let Kind::Visit(visit) = &flow.kind
            && let Some(door) = self.doors.get(visit.door)
        {
            // Lost, as datagrams are.
            let _lost = sendto(&door.socket, payload, SendFlags::NOSIGNAL, &visit.client);
            self.spend(Moved {
                sent: payload.len(),
                received: 0,
            });
        }
    }

    /// What the packets of a client have in common: its own address, or the gateway's, and its own port, or a
    /// free one.
    fn visitor(&mut self, carrier: Carrier, guest: SocketAddr, client: SocketAddr) -> Key {
        let own = match client.ip().to_canonical() {
            IpAddr::V4(address) => {
                let is_of_cable = self.plan.holds(address.into());
                let is_known = !policy::is_never(address.into()) && !is_of_cable;
                is_known.then_some(address)
            }
            IpAddr::V6(_) => None,
        };
        let address = IpAddr::V4(own.unwrap_or(self.plan.gateway_v4()));
        let mut peer = SocketAddr::new(address, client.port());
        loop {
            let key = Key {
                carrier,
                guest,
                peer,
            };
            if self.flows.find(&key).is_none() {
                return key;
            }
            // Fewer flows than ports: there is one.
            let [high, low, ..] = self.random.next().to_ne_bytes();
            let port = u16::from_ne_bytes([high, low]).max(1024);
            peer = SocketAddr::new(self.plan.gateway_v4().into(), port);
        }
    }
}

/// A conversation of somebody who comes in: nobody tried to reach anything.
fn coming(key: Key) -> NewFlow {
    NewFlow {
        key,
        mac: GUEST_MAC,
        line: None,
    }
}
