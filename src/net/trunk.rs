//! A machine's end of its connection to a switch: who else is there, packets to them, and packets from them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::link::{Frame, Unsummed};
use super::outbox::Outbox;
use super::plan::{GATEWAY_MAC, GUEST_MAC};
use super::switch::message::{self, Datagram, LONGEST, Message};
use super::switch::{Member, Word};
use super::wire;
use crate::spec::Seat;
use crate::sys::seqpacket::Seqpacket;

/// Bytes that wait for the switch; what comes then is lost, as on a cable.
const MOST_WAITING: usize = 2 << 20;

/// Most members that are believed.
const MOST_MEMBERS: usize = 1024;

/// Words taken before others have their turn.
const TURN: usize = 64;

/// What came of looking for a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// One; it is in the frame.
    Packet,
    /// None, now.
    Nothing,
    /// None, and others had no turn for long.
    Busy,
}

/// The connection.
#[derive(Debug)]
pub struct Trunk {
    /// The machine's place on the network.
    pub seat: Seat,
    /// The number by which it is heard of.
    pub number: u64,
    socket: Seqpacket,
    members: BTreeMap<Ipv4Addr, Member>,
    outbox: Outbox,
    /// Whether there may be something to hear.
    is_ready: bool,
    /// Whether the switch is there.
    is_alive: bool,
    message: Vec<u8>,
    scratch: Vec<u8>,
}

impl Trunk {
    /// By `socket`, which waits for nothing, from `seat`.
    pub fn new(seat: Seat, socket: OwnedFd) -> Self {
        Self {
            seat,
            number: 0,
            socket: socket.into(),
            members: BTreeMap::new(),
            outbox: Outbox::default(),
            is_ready: true,
            is_alive: true,
            message: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The socket has become something.
    pub fn wake(&mut self, readable: bool, writable: bool) {
        self.is_ready |= readable && self.is_alive;
        if writable {
            self.outbox.flush(&self.socket);
        }
    }

    /// Whether somebody has `address`.
    pub fn knows(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.members.contains_key(&address),
            IpAddr::V6(_) => self.members.values().any(|member| member.has(address)),
        }
    }

    /// The members that are found by `name`, which is in lower case.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Member> {
        let is_meant = move |member: &&Member| member.names.iter().any(|own| own == name);
        self.members.values().filter(is_meant)
    }

    /// The name of who has `address`.
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        let member = self.members.values().find(|member| member.has(address))?;
        member.names.first().map(String::as_str)
    }

    /// Sends a packet of the guest's.
    pub fn send(&mut self, packet: &[u8], unsummed: Option<Unsummed>) {
        message::encode(&mut self.message, packet, unsummed);
        if self.is_alive {
            let _lost = self.outbox.send(&self.socket, &self.message, MOST_WAITING);
        }
    }

    /// Puts the next packet for the guest into `frame`; takes the words before it.
    pub fn next(&mut self, frame: &mut Frame) -> Heard {
        if !self.is_ready {
            return Heard::Nothing;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(LONGEST, 0);
        let heard = self.hear(&mut scratch, frame);
        self.scratch = scratch;
        heard
    }

    fn hear(&mut self, scratch: &mut [u8], frame: &mut Frame) -> Heard {
        for _ in 0..TURN {
            let len = match self.socket.take(scratch) {
                Ok(Some(len)) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_ready = false;
                    return Heard::Nothing;
                }
                // A switch that says what is longer than anything that is said is gone, too.
                Ok(None) | Err(_) => {
                    self.end();
                    return Heard::Nothing;
                }
            };
            match message::decode(&scratch[..len]) {
                Some(Message::Word(Word::Came(member))) if self.members.len() < MOST_MEMBERS => {
                    self.members.insert(member.v4, member);
                }
                Some(Message::Word(Word::Left { v4 })) => drop(self.members.remove(&v4)),
                Some(Message::Packet(packet)) if self.is_for_us(&packet) => {
                    let Datagram { unsummed, ends } = packet;
                    wire::write_packet(frame, (GATEWAY_MAC, GUEST_MAC), &ends, unsummed);
                    return Heard::Packet;
                }
                _ => {}
            }
        }
        Heard::Busy
    }

    /// The switch is not believed either: what it brings is from the network, for the guest, and about no other end of
    /// its cable.
    fn is_for_us(&self, packet: &Datagram<'_>) -> bool {
        let (source, target) = (packet.ends.source, packet.ends.target);
        self.seat.is_own(target)
            && self.seat.subnets.holds(source)
            && !self.seat.is_own(source)
            && !self.seat.is_gateway(source)
            && !packet.ends.is_of_link()
    }

    /// The switch is gone, and with it everybody.
    fn end(&mut self) {
        self.is_ready = false;
        self.is_alive = false;
        self.members.clear();
        self.outbox = Outbox::default();
    }
}

impl AsFd for Trunk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
