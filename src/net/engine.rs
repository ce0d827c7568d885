//! The network itself: takes frames, gives frames, and has the flows between.

mod arrivals;
mod departures;
mod metering;
mod name_streams;
mod names;
mod refusals;
mod trunks;
mod visitors;

pub use visitors::{Door, Visit};

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempts::{Attempts, Line, Tried};
use super::changes::Changes;
use super::dns::Names;
use super::flows::{Flows, Id, Key, Kind, NewFlow};
use super::link::{Frame, MTU, Peer, Unsummed};
use super::meter::Meter;
use super::plan::{DNS_PORT, GATEWAY_MAC, Plan};
use super::policy::{Policy, refused};
use super::poller::Poller;
use super::tcp::{Limits, MOST_BUFFERED};
use super::trunk::Trunk;
use super::wire::{
    self, Addressed, IPV4_LEN, IPV6_LEN, Mac, Parsed, Refusal, TCP_LEN, Tcp, icmp_type,
};
use crate::spec::{EgressPolicy, NetLimits, Verdict, Why};

/// Answers that belong to no flow and wait for the guest; what comes then is lost, as on a cable.
const MOST_REPLIES: usize = 256;

/// Bytes that all connections together keep for the host.
const BUDGET: usize = 64 << 20;

/// Bytes that each of them may keep, however many there are.
const LEAST_BUFFERED: usize = 16 << 10;

/// What a network is told of its host.
#[derive(Debug, Default)]
pub struct Setup {
    /// Whom the guest may reach.
    pub egress: EgressPolicy,
    /// How much of that.
    pub limits: NetLimits,
    /// The host's resolvers.
    pub servers: Vec<SocketAddr>,
    /// The host's /etc/hosts.
    pub hosts: String,
    /// Ports of the host's that lead to the guest.
    pub doors: Vec<Door>,
    /// Where is written what the guest tries to reach.
    pub attempts: Option<File>,
    /// Networks that it is on.
    pub trunks: Vec<Trunk>,
    /// Has what comes to the gateway's port for names by TCP go to the resolver unread: for tests of connections, whose far end is
    /// then on this host.
    pub names_pass: bool,
}

/// A user-mode network.
pub struct Network {
    /// Who is who.
    plan: Plan,
    /// The networks that the guest is on.
    trunks: Vec<Trunk>,
    next_trunk: u64,
    changes: Changes,
    /// Whom the guest may reach, where its networks have a way there.
    egress: EgressPolicy,
    /// Whether members of those are heard next, before the world.
    members_turn: bool,
    /// Whose members are heard first.
    first_heard: usize,
    /// Whom the guest may reach.
    pub(super) policy: Policy,
    /// What it tried.
    pub(super) attempts: Attempts,
    meter: Meter,
    /// Conversations that wait until more may flow, either way.
    short: [Vec<Id>; 2],
    names: Names,
    /// Counts the connections for queries.
    name_streams: Arc<()>,
    /// Whether those are the resolver's business alone.
    names_pass: bool,
    poller: Poller,
    flows: Flows,
    most_flows: usize,
    /// Flows that may have something for the guest.
    ready: VecDeque<Id>,
    replies: VecDeque<Frame>,
    doors: Vec<Door>,
    /// Doors at which somebody is.
    knocking: VecDeque<usize>,
    /// When they are looked after again, if there was no file for one.
    files_again: Option<Instant>,
    /// Clients of doors for datagrams.
    visits: HashMap<(usize, SocketAddr), Id>,
    scratch: Vec<u8>,
    /// Where sequence numbers begin.
    random: Sequence,
}

/// Why packets go nowhere.
enum Barred {
    /// They are refused.
    By(Refusal),
    /// There is no room for one more conversation.
    Full,
}

/// Where packets go, and the line in which that is written down.
type Way = (SocketAddr, Option<Line>);

/// Numbers that nobody guesses.
#[derive(Debug, Default)]
struct Sequence(Vec<u8>);

impl Sequence {
    fn next(&mut self) -> u32 {
        if self.0.len() < 4 {
            self.0 = vec![0; 256];
            // Without randomness they are guessed; by whom, on a cable with one guest?
            let _none = getrandom::fill(&mut self.0);
        }
        let mut word = [0; 4];
        word.copy_from_slice(&self.0.split_off(self.0.len() - 4));
        u32::from_ne_bytes(word)
    }
}

impl Network {
    /// A network for one guest, in a process that has files for so many conversations.
    pub fn new(setup: Setup, room: usize) -> io::Result<Self> {
        let seats = setup.trunks.iter().map(|trunk| trunk.seat.clone());
        let plan = Plan::new(seats.collect());
        let mut network = Self {
            policy: Policy::new(trunks::reach_of(&plan, &setup.egress)),
            plan,
            egress: setup.egress,
            trunks: Vec::new(),
            next_trunk: 0,
            changes: Changes::default(),
            members_turn: false,
            first_heard: 0,
            meter: Meter::new(&setup.limits, Instant::now()),
            short: [const { Vec::new() }; 2],
            attempts: Attempts::new(setup.attempts),
            names: Names::new(setup.servers, setup.hosts),
            name_streams: Arc::default(),
            names_pass: setup.names_pass,
            poller: Poller::new()?,
            flows: Flows::default(),
            most_flows: setup.limits.connections.unwrap_or(room).min(room),
            ready: VecDeque::new(),
            replies: VecDeque::new(),
            doors: setup.doors,
            knocking: VecDeque::new(),
            files_again: None,
            visits: HashMap::new(),
            scratch: Vec::new(),
            random: Sequence::default(),
        };
        network.open_doors()?;
        let mut trunks = setup.trunks.into_iter();
        trunks.try_for_each(|trunk| network.plug(trunk))?;
        Ok(network)
    }

    /// Where it is told of changes.
    pub fn changes(&self) -> Changes {
        self.changes.clone()
    }

    fn limits(&self, guest: IpAddr) -> Limits {
        let header = match guest {
            IpAddr::V4(_) => IPV4_LEN,
            IpAddr::V6(_) => IPV6_LEN,
        };
        let mss = usize::from(MTU) - header - TCP_LEN;
        Limits {
            inward: self.buffered(),
            mss: u16::try_from(mss).expect("less than the MTU"),
        }
    }

    /// Most bytes that one connection keeps: less, the more there are.
    fn buffered(&self) -> usize {
        (BUDGET / (self.flows.len() + 1)).clamp(LEAST_BUFFERED, MOST_BUFFERED)
    }

    fn reply(&mut self, write: impl FnOnce(&mut Frame)) {
        if self.replies.len() < MOST_REPLIES {
            let mut frame = Frame::default();
            write(&mut frame);
            self.replies.push_back(frame);
        }
    }

    /// Whether there is room for one more conversation, after the idlest made some.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.meter.is_spent() {
            return false;
        }
        if self.flows.len() < self.most_flows {
            return true;
        }
        let Some(idlest) = self.flows.idlest(now) else {
            return false;
        };
        if let Some(flow) = self.flows.remove(idlest)
            && let Kind::Tcp(tcp) = &flow.kind
        {
            let segment = tcp.reset();
            self.reply(|frame| write_segment(frame, &flow.key, flow.mac, segment, (&[], &[])));
        }
        true
    }

    /// Where the guest's packets to `peer` go, if anywhere, and the line of that, if it is written down.
    fn reach(&mut self, key: &Key, now: Instant) -> Result<Way, Barred> {
        if self.plan.is_gateway(key.peer.ip()) {
            if key.peer.port() != DNS_PORT {
                return Err(Barred::By(Refusal::Port));
            }
            return match self.make_room(now) {
                true => Ok((self.names.server(), None)),
                false => Err(Barred::Full),
            };
        }
        let mut verdict = self.policy.judge(key.carrier, key.peer, now);
        if verdict.allows && self.meter.is_spent() {
            verdict = refused(Why::Bytes);
        } else if verdict.allows && !self.make_room(now) {
            verdict = refused(Why::Connections);
        }
        let name = self.policy.name_of(key.peer.ip(), now);
        let tried = Tried::Peer(key.carrier, key.peer);
        let line = self.attempts.note(tried, verdict, name);
        match verdict {
            Verdict { allows: true, .. } => Ok((key.peer, Some(line))),
            Verdict {
                why: Why::Connections,
                ..
            } => Err(Barred::Full),
            _ => Err(Barred::By(Refusal::Prohibited)),
        }
    }

    fn begin(&mut self, flow: NewFlow, kind: Kind, now: Instant) -> Option<Id> {
        let id = self.flows.add(flow, kind, now);
        if self.watch(id).is_err() {
            self.flows.remove(id);
            return None;
        }
        Some(id)
    }

    fn watch(&mut self, id: Id) -> io::Result<()> {
        let Some(flow) = self.flows.get(id) else {
            return Ok(());
        };
        let socket = match &flow.kind {
            Kind::Tcp(tcp) => tcp.socket(),
            Kind::Udp(udp) => udp.socket(),
            Kind::Dns(dns) => dns.udp.socket(),
            Kind::Echo(echo) => echo.socket.socket(),
            Kind::Visit(_) => return Ok(()),
        };
        self.poller.watch(socket, id.token())
    }

    /// Lets a flow speak to the guest when it is its turn.
    fn line_up(&mut self, id: Id) {
        if let Some(flow) = self.flows.get(id)
            && !flow.is_ready
        {
            flow.is_ready = true;
            self.ready.push_back(id);
        }
    }

    fn expire(&mut self, id: Id, now: Instant) {
        match self.flows.get(id).map(|flow| &mut flow.kind) {
            Some(Kind::Tcp(tcp)) => {
                if tcp.deadline().is_some_and(|deadline| deadline <= now) {
                    tcp.expire(now);
                }
                self.serve_names(id, now);
                self.line_up(id);
                self.flows.arm(id);
            }
            _ => drop(self.flows.remove(id)),
        }
    }
}

fn write_segment(
    frame: &mut Frame,
    key: &Key,
    mac: Mac,
    header: Tcp<'static>,
    payload: (&[u8], &[u8]),
) {
    let segment = Tcp {
        source: key.peer.port(),
        target: key.guest.port(),
        ..header
    };
    let at = addressed(mac, key.peer.ip(), key.guest.ip());
    wire::write_tcp(frame, &at, &segment, payload);
}

/// To the guest's `mac`, from us.
fn addressed(mac: Mac, source: IpAddr, target: IpAddr) -> Addressed {
    Addressed {
        from: GATEWAY_MAC,
        to: mac,
        source,
        target,
    }
}

fn echo_kind(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => icmp_type::ECHO,
        IpAddr::V6(_) => icmp_type::V6_ECHO,
    }
}

fn reply_kind(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => icmp_type::ECHO_REPLY,
        IpAddr::V6(_) => icmp_type::V6_ECHO_REPLY,
    }
}

impl Peer for Network {
    fn take(&mut self, frame: &[u8], unsummed: Option<Unsummed>) {
        let now = Instant::now();
        if self.pass_to_member(frame, unsummed) {
            return;
        }
        match wire::parse(frame) {
            Some(Parsed::Arp(asked)) => self.answer_arp(&asked),
            Some(Parsed::Ip(packet)) => self.take_packet(&packet, now),
            None => {}
        }
    }

    fn give(&mut self, frame: &mut Frame) -> bool {
        let now = Instant::now();
        loop {
            self.let_in(now);
            if let Some(reply) = self.replies.pop_front() {
                *frame = reply;
                return true;
            }
            if (std::mem::take(&mut self.members_turn) || self.ready.is_empty())
                && self.hear_members(frame)
            {
                return true;
            }
            let Some(id) = self.ready.front().copied() else {
                self.attempts.flush(now);
                return false;
            };
            let served = self.serve(id, frame, now);
            if self.settle(id, served) {
                self.members_turn = true;
                return true;
            }
        }
    }

    fn source(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }

    fn poll(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.take_changes();
        loop {
            let ready = self.poller.take()?;
            for ready in &ready {
                if let Some(number) = trunks::number_of(ready.token) {
                    self.wake_trunk(number, ready.readable, ready.writable);
                    continue;
                }
                if let Some(door) = visitors::door_of(ready.token) {
                    self.knock(door);
                    continue;
                }
                let id = Id::from_token(ready.token);
                match self.flows.get(id).map(|flow| &mut flow.kind) {
                    Some(Kind::Tcp(tcp)) => {
                        tcp.wake(ready.readable, ready.writable);
                        self.serve_names(id, now);
                    }
                    Some(Kind::Udp(udp)) => udp.wake(ready.readable),
                    Some(Kind::Dns(dns)) => dns.udp.wake(ready.readable),
                    Some(Kind::Echo(echo)) => echo.socket.wake(ready.readable),
                    Some(Kind::Visit(_)) | None => continue,
                }
                self.line_up(id);
            }
            if ready.is_empty() {
                break;
            }
        }
        while let Some(id) = self.flows.expired(now) {
            self.expire(id, now);
        }
        self.relieve(now);
        self.attempts.flush(now);
        Ok(())
    }

    fn patience(&self) -> Option<Duration> {
        let now = Instant::now();
        let due = self.attempts.due();
        let due = due.map(|due| due.saturating_duration_since(now));
        let relief = self.until_relief(now);
        let flows = self.flows.patience(now);
        let files = self.until_files(now);
        [flows, due, relief, files].into_iter().flatten().min()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("policy", &self.policy)
            .field("flows", &self.flows.len())
            .finish_non_exhaustive()
    }
}
