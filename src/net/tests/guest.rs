//! A guest: it says what a test wants, and hears what there is.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::net::link::{Frame, Peer};
use crate::net::plan::{GATEWAY_MAC, GATEWAY_V4, GUEST_MAC, GUEST_V4, GUEST_V6};
use crate::net::wire::{self, Addressed, Body, Packet, Parsed, Tcp, flag};
use crate::net::{Network, Setup};

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Guest {
    pub network: Network,
    /// Its port, whatever it speaks.
    pub port: u16,
    /// Number of its next byte, and of the far end's.
    pub seq: u32,
    pub ack: u32,
    /// What it says its window is.
    pub window: u16,
}

/// A segment that it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub source: u16,
    pub target: u16,
    pub from: IpAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub mss: Option<u16>,
    pub payload: Vec<u8>,
}

impl Guest {
    pub fn of(network: Network) -> Self {
        Self {
            network,
            port: 4000,
            seq: 7,
            ack: 0,
            window: 60000,
        }
    }

    pub fn alone() -> Self {
        Self::of(Network::new(Setup::default(), 1000).unwrap())
    }

    pub fn with_resolvers(servers: Vec<SocketAddr>) -> Self {
        let setup = Setup {
            servers,
            names_pass: true,
            ..Setup::default()
        };
        Self::of(Network::new(setup, 1000).unwrap())
    }

    fn at(target: IpAddr) -> Addressed {
        Addressed {
            from: GUEST_MAC,
            to: GATEWAY_MAC,
            source: match target {
                IpAddr::V4(_) => GUEST_V4.into(),
                IpAddr::V6(_) => GUEST_V6.into(),
            },
            target,
        }
    }

    pub fn ping(&mut self, target: IpAddr, kind: u8, rest: [u8; 4], payload: &[u8]) {
        let mut frame = Frame::default();
        wire::write_icmp(&mut frame, &Self::at(target), (kind, 0), rest, payload);
        self.network.take(&frame.bytes, frame.unsummed);
    }

    pub fn datagram(&mut self, target: IpAddr, port: u16, payload: &[u8]) {
        let mut frame = Frame::default();
        wire::write_udp(&mut frame, &Self::at(target), (self.port, port), payload);
        self.network.take(&frame.bytes, frame.unsummed);
    }

    pub fn segment(
        &mut self,
        target: IpAddr,
        port: u16,
        flags: u8,
        (seq, ack): (u32, u32),
        payload: &[u8],
    ) {
        let is_syn = flags & flag::SYN != 0;
        let segment = Tcp {
            source: self.port,
            target: port,
            seq,
            ack,
            flags,
            window: self.window,
            mss: is_syn.then_some(1000),
            shift: is_syn.then_some(0),
            payload: &[],
        };
        let mut frame = Frame::default();
        wire::write_tcp(&mut frame, &Self::at(target), &segment, (payload, &[]));
        self.network.take(&frame.bytes, frame.unsummed);
    }

    /// Says something on its connection to the gateway's port 53.
    pub fn say(&mut self, flags: u8, payload: &[u8]) {
        let (seq, ack) = (self.seq, self.ack);
        self.segment(
            GATEWAY_V4.into(),
            53,
            flags | flag::ACK,
            (seq, ack),
            payload,
        );
        let ends = u32::from(flags & flag::FIN != 0);
        self.seq = seq.wrapping_add(u32::try_from(payload.len()).unwrap() + ends);
    }

    /// Connects to the gateway's port 53.
    pub fn connect(&mut self) -> Segment {
        self.seq = 7;
        self.segment(GATEWAY_V4.into(), 53, flag::SYN, (7, 0), &[]);
        let answer = self.wait_own();
        assert_eq!(answer.flags, flag::SYN | flag::ACK, "{answer:?}");
        assert_eq!(answer.ack, 8);
        self.seq = 8;
        self.ack = answer.seq.wrapping_add(1);
        self.say(0, &[]);
        answer
    }

    /// The next packet of which `look` makes something; others are not for the test.
    pub fn wait<T>(&mut self, look: impl Fn(&Packet<'_>) -> Option<T>) -> T {
        self.until(|guest| guest.hear(&look))
    }

    /// The same if it is there now.
    pub fn hear<T>(&mut self, look: impl Fn(&Packet<'_>) -> Option<T>) -> Option<T> {
        let mut frame = Frame::default();
        while self.network.give(&mut frame) {
            if let Some(Parsed::Ip(packet)) = wire::parse(&frame.bytes)
                && let Some(found) = look(&packet)
            {
                return Some(found);
            }
        }
        None
    }

    /// Lets the network work until `look` finds something.
    pub fn until<T>(&mut self, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.network.poll().unwrap();
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "nothing came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn wait_segment(&mut self) -> Segment {
        self.wait(Segment::of)
    }

    /// The next one for its port; others may come for its other connections.
    pub fn wait_own(&mut self) -> Segment {
        let port = self.port;
        self.wait(|packet| Segment::of(packet).filter(|segment| segment.target == port))
    }

    /// The next segment, if one comes so soon.
    pub fn wait_at_most(&mut self, time: Duration) -> Option<Segment> {
        let deadline = Instant::now() + time;
        self.until(|guest| {
            let heard = guest.hear(Segment::of);
            (heard.is_some() || Instant::now() >= deadline).then_some(heard)
        })
    }

    /// Nothing comes for a while.
    pub fn hears_nothing(&mut self) {
        assert_eq!(self.wait_at_most(Duration::from_millis(20)), None);
    }

    /// Has the far end send back all that it is sent, and takes it.
    pub fn exchange(&mut self, far: &TcpStream, sent: &[u8]) {
        let mut echo = far.try_clone().unwrap();
        let count = sent.len();
        let echoing = thread::spawn(move || {
            let mut all = vec![0; count];
            echo.read_exact(&mut all).unwrap();
            echo.write_all(&all).unwrap();
        });
        let mut acked = self.seq;
        for chunk in sent.chunks(1000) {
            self.say(0, chunk);
            // No more on the way than was granted.
            while self.seq.wrapping_sub(acked) > 50_000 {
                acked = self.wait_segment().ack;
            }
        }
        assert_eq!(self.read(count), sent);
        echoing.join().unwrap();
    }

    /// Takes `count` bytes of its connection, acknowledging each segment.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let segment = self.wait_segment();
            if segment.seq == self.ack && !segment.payload.is_empty() {
                bytes.extend(&segment.payload);
                self.ack = self
                    .ack
                    .wrapping_add(u32::try_from(segment.payload.len()).unwrap());
                self.say(0, &[]);
            }
        }
        bytes
    }
}

impl Segment {
    pub fn of(packet: &Packet<'_>) -> Option<Self> {
        let Body::Tcp(tcp) = packet.body else {
            return None;
        };
        Some(Self {
            source: tcp.source,
            target: tcp.target,
            from: packet.source,
            seq: tcp.seq,
            ack: tcp.ack,
            flags: tcp.flags,
            window: tcp.window,
            mss: tcp.mss,
            payload: tcp.payload.to_vec(),
        })
    }
}
