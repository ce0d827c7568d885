//! All conversations of a guest, by what its packets say and by number.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::attempts::Line;
use super::dns::DnsFlow;
use super::dns::stream::NameStream;
use super::echo::EchoFlow;
use super::engine::Visit;
use super::tcp::TcpFlow;
use super::udp::{SILENCE, UdpFlow};
use super::wire::Mac;
use crate::spec::Carrier;

/// Most conversations at once.
pub const MOST_FLOWS: usize = 16384;

/// How long a connection over which nothing flows keeps its place from a new one, when all are taken.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the packets of a conversation have in common, as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// What carries it.
    pub carrier: Carrier,
    /// The guest's address and port; of echo requests, their identifier.
    pub guest: SocketAddr,
    /// The far end's.
    pub peer: SocketAddr,
}

/// The number of a conversation: a place in the table, and how often it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    place: u32,
    round: u32,
}

impl Id {
    /// As one number.
    pub fn token(self) -> u64 {
        u64::from(self.place) << 32 | u64::from(self.round)
    }

    /// From [`Id::token`].
    pub fn from_token(token: u64) -> Self {
        let low = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
        Self {
            place: low(token >> 32),
            round: low(token),
        }
    }
}

/// What a conversation is.
#[derive(Debug)]
pub enum Kind {
    /// A connection.
    Tcp(Box<TcpFlow>),
    /// Datagrams.
    Udp(UdpFlow),
    /// Queries for names.
    Dns(DnsFlow),
    /// Echo requests.
    Echo(EchoFlow),
    /// Datagrams of somebody who came by a port of the host's.
    Visit(Visit),
}

/// Bytes that have gone over a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// The guest's, to the far end.
    pub sent: usize,
    /// The far end's, to us.
    pub received: usize,
}

/// Who speaks in a conversation that begins.
#[derive(Debug, Clone, Copy)]
pub struct NewFlow {
    /// Whose it is.
    pub key: Key,
    /// The guest's Ethernet address in it.
    pub mac: Mac,
    /// Where it is written down, if it is.
    pub line: Option<Line>,
}

/// One conversation.
#[derive(Debug)]
pub struct Flow {
    /// Whose.
    pub key: Key,
    /// The guest's Ethernet address in it.
    pub mac: Mac,
    /// Where it is written down, if it is.
    pub line: Option<Line>,
    /// What it is.
    pub kind: Kind,
    /// What answers, of a connection for queries.
    pub names: Option<Box<NameStream>>,
    /// What has gone over it since somebody counted.
    pub moved: Moved,
    /// When anything was said last.
    pub last: Instant,
    /// Whether it stands in line to speak to the guest.
    pub is_ready: bool,
    /// Whether it waits until more may flow, either way.
    pub is_short: [bool; 2],
    /// For when its alarm is set.
    armed: Option<Instant>,
}

impl Flow {
    /// When something is to be done about it, whatever happens.
    fn deadline(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Tcp(tcp) => {
                let names = self.names.as_ref().map(|names| names.deadline());
                tcp.deadline().into_iter().chain(names).min()
            }
            _ => Some(self.last + SILENCE),
        }
    }
}

/// All conversations.
#[derive(Debug, Default)]
pub struct Flows {
    places: Vec<(u32, Option<Flow>)>,
    free: Vec<u32>,
    by_key: HashMap<Key, Id>,
    alarms: BinaryHeap<Reverse<(Instant, Id)>>,
    /// Before that nobody makes room: who looked found them all busy.
    all_busy: Option<Instant>,
}

impl Flows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The one of `key`.
    pub fn find(&self, key: &Key) -> Option<Id> {
        self.by_key.get(key).copied()
    }

    /// All of them.
    pub fn ids(&self) -> Vec<Id> {
        self.by_key.values().copied().collect()
    }

    /// Number `id`, if it is not over.
    pub fn get(&mut self, id: Id) -> Option<&mut Flow> {
        let place = usize::try_from(id.place).ok()?;
        let (round, flow) = self.places.get_mut(place)?;
        if *round == id.round {
            flow.as_mut()
        } else {
            None
        }
    }

    /// Adds one; its key has none yet.
    pub fn add(&mut self, new: NewFlow, kind: Kind, now: Instant) -> Id {
        let NewFlow { key, mac, line } = new;
        let flow = Flow {
            key,
            mac,
            line,
            kind,
            names: None,
            moved: Moved::default(),
            last: now,
            is_ready: false,
            is_short: [false; 2],
            armed: None,
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            u32::try_from(self.places.len() - 1).expect("there are fewer than MOST_FLOWS")
        });
        let slot = &mut self.places[usize::try_from(place).expect("a usize has 64 bits")];
        // Never 0: that number is no flow's.
        slot.0 = slot.0.wrapping_add(1).max(1);
        slot.1 = Some(flow);
        let id = Id {
            place,
            round: slot.0,
        };
        self.by_key.insert(key, id);
        self.all_busy = None;
        self.arm(id);
        id
    }

    /// Ends one: its socket is closed.
    pub fn remove(&mut self, id: Id) -> Option<Flow> {
        let place = usize::try_from(id.place).ok()?;
        let (round, slot) = self.places.get_mut(place)?;
        if *round != id.round {
            return None;
        }
        let flow = slot.take()?;
        self.free.push(id.place);
        self.by_key.remove(&flow.key);
        Some(flow)
    }

    /// Sees to it that number `id` is heard of by its deadline.
    pub fn arm(&mut self, id: Id) {
        let Some(flow) = self.get(id) else { return };
        let Some(deadline) = flow.deadline() else {
            return;
        };
        if flow.armed.is_none_or(|armed| armed > deadline) {
            flow.armed = Some(deadline);
            self.alarms.push(Reverse((deadline, id)));
        }
    }

    /// How long until some deadline.
    pub fn patience(&self, now: Instant) -> Option<Duration> {
        let Reverse((first, _)) = self.alarms.peek()?;
        Some(first.saturating_duration_since(now))
    }

    /// One whose deadline has passed.
    pub fn expired(&mut self, now: Instant) -> Option<Id> {
        loop {
            let Reverse((moment, id)) = *self.alarms.peek()?;
            if moment > now {
                return None;
            }
            self.alarms.pop();
            let Some(flow) = self.get(id).filter(|flow| flow.armed == Some(moment)) else {
                continue;
            };
            flow.armed = None;
            // Deadlines move on while alarms wait.
            match flow.deadline() {
                Some(deadline) if deadline <= now => return Some(id),
                _ => self.arm(id),
            }
        }
    }

    /// The one to make room for another, when all places are taken: the one that was silent longest, if that
    /// is long for what it is. All are looked at, and so not for each that is refused.
    pub fn idlest(&mut self, now: Instant) -> Option<Id> {
        if self.all_busy.is_some_and(|until| now < until) {
            return None;
        }
        let flows = self.by_key.values().filter_map(|id| {
            let place = usize::try_from(id.place).ok()?;
            let flow = self.places.get(place)?.1.as_ref()?;
            let patience = match flow.kind {
                Kind::Tcp(_) => PATIENCE,
                _ => Duration::ZERO,
            };
            Some((flow.last + patience, flow.last, *id))
        });
        let spare = flows.clone().filter(|(until, ..)| *until <= now);
        let idlest = spare.map(|(_, last, id)| (last, id)).min();
        if idlest.is_none() {
            self.all_busy = flows.map(|(until, ..)| until).min();
        }
        idlest.map(|(_, id)| id)
    }
}
