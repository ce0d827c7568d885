//! What the guest hears: each flow in line says one thing, and stands in line again while it has more.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use super::metering::RECEIVED;
use super::{Network, addressed, reply_kind, write_segment};
use crate::net::dns::{Answer, Judges};
use crate::net::echo::Reply;
use crate::net::flows::{Flow, Id, Kind};
use crate::net::link::{Frame, MTU};
use crate::net::tcp::Step;
use crate::net::udp::Heard;
use crate::net::wire::{self, ICMP_LEN, IPV4_LEN, IPV6_LEN};

/// Bytes taken from a socket at once.
const SCRATCH: usize = 256 << 10;

impl Network {
    /// Whether the flow that is first in line has something: it is in `frame`.
    pub(super) fn serve(&mut self, id: Id, frame: &mut Frame, now: Instant) -> Served {
        let most = self.buffered();
        if self.scratch.is_empty() {
            self.scratch = vec![0; SCRATCH];
        }
        let share = self.share(now);
        let Some(flow) = self.flows.get(id) else {
            return Served::Nothing;
        };
        match &mut flow.kind {
            Kind::Tcp(tcp) => tcp.allow(share.sent, share.received),
            _ if share.received == 0 => {
                self.wait_for_more(id, RECEIVED);
                return Served::Nothing;
            }
            _ => {}
        }
        let served = match &mut flow.kind {
            Kind::Tcp(_) => serve_tcp(flow, &mut self.scratch, most, frame, now),
            _ => {
                let judges = Judges {
                    names: &mut self.names,
                    policy: &mut self.policy,
                    attempts: &mut self.attempts,
                    now,
                };
                serve_datagram(flow, &mut self.scratch, judges, frame)
            }
        };
        if let Served::Frame = served {
            flow.last = now;
        }
        self.count(id);
        served
    }

    /// Takes what serving a flow came to; whether there is a frame.
    pub(super) fn settle(&mut self, id: Id, served: Served) -> bool {
        let has_frame = matches!(served, Served::Frame | Served::LastFrame);
        match served {
            Served::Frame => self.ready.rotate_left(1),
            Served::Moved if self.watch(id).is_ok() => {}
            Served::Nothing => {
                self.ready.pop_front();
                if let Some(flow) = self.flows.get(id) {
                    flow.is_ready = false;
                }
            }
            Served::LastFrame | Served::Over | Served::Moved => {
                self.ready.pop_front();
                self.flows.remove(id);
            }
            Served::Refused(error) => {
                self.ready.pop_front();
                if let Some(flow) = self.flows.remove(id) {
                    self.refused(&flow, &error);
                }
            }
        }
        self.flows.arm(id);
        has_frame
    }
}

/// What serving a flow came to.
pub(super) enum Served {
    /// A frame; there may be more.
    Frame,
    /// A frame, and the end.
    LastFrame,
    /// Nothing now.
    Nothing,
    /// Nothing, ever.
    Over,
    /// Nothing yet, over a new socket.
    Moved,
    /// The far end is not there.
    Refused(io::Error),
}

fn serve_tcp(
    flow: &mut Flow,
    scratch: &mut [u8],
    most: usize,
    frame: &mut Frame,
    now: Instant,
) -> Served {
    let Kind::Tcp(tcp) = &mut flow.kind else {
        return Served::Nothing;
    };
    match tcp.step(scratch, most, now) {
        Step::Segment(due) => {
            let payload = tcp.outgoing(&due);
            write_segment(frame, &flow.key, flow.mac, due.header, payload);
            Served::Frame
        }
        Step::Reset(header) => {
            write_segment(frame, &flow.key, flow.mac, header, (&[], &[]));
            Served::LastFrame
        }
        Step::Nothing => Served::Nothing,
        Step::Over => Served::Over,
        Step::Refused(error) => Served::Refused(error),
    }
}

fn serve_datagram(
    flow: &mut Flow,
    scratch: &mut [u8],
    mut judges: Judges<'_>,
    frame: &mut Frame,
) -> Served {
    let (key, mac) = (&flow.key, flow.mac);
    // What is longer cannot be sent to the guest in one piece.
    let header = match key.peer.ip() {
        IpAddr::V4(_) => IPV4_LEN,
        IpAddr::V6(_) => IPV6_LEN,
    };
    let most = usize::from(MTU) - header - ICMP_LEN;
    let at = addressed(mac, key.peer.ip(), key.guest.ip());
    let ports = (key.peer.port(), key.guest.port());
    let payload = match &mut flow.kind {
        Kind::Udp(udp) => match udp.next(scratch) {
            Heard::Datagram(payload) => payload,
            Heard::Nothing => return Served::Nothing,
            Heard::Refused(error) => return Served::Refused(error),
        },
        Kind::Dns(dns) => match dns.next(scratch, &mut judges) {
            Answer::Message(len) => &scratch[..len],
            Answer::Moved => return Served::Moved,
            Answer::Nothing => return Served::Nothing,
        },
        Kind::Echo(echo) => {
            return match echo.next(scratch) {
                Ok(Some(Reply { sequence, payload })) => {
                    let [high, low] = key.guest.port().to_be_bytes();
                    let rest = [high, low, sequence[0], sequence[1]];
                    let kind = (reply_kind(key.peer.ip()), 0);
                    flow.moved.received += payload.len();
                    let payload = &payload[..payload.len().min(most)];
                    wire::write_icmp(frame, &at, kind, rest, payload);
                    Served::Frame
                }
                Ok(None) => Served::Nothing,
                Err(error) => Served::Refused(error),
            };
        }
        Kind::Tcp(_) | Kind::Visit(_) => return Served::Nothing,
    };
    flow.moved.received += payload.len();
    let payload = &payload[..payload.len().min(most)];
    wire::write_udp(frame, &at, ports, payload);
    Served::Frame
}
