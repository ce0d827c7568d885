//! One end of a connection, without sockets and clocks of its own.
//!
//! ```text
//!  of the guest's making:   Listening ─SYN─▶ held until the host is connected ─answer()─▶ SynReceived ─ACK─▶ Open
//!  of the host's making:    SynSent ─SYN,ACK─▶ Open
//! ```
//!
//! In the latter nobody says that our acknowledgement of the guest's SYN has come; a server with a full line drops it, and one that believes
//! in cookies forgets the connection with it. So it goes again now and then, until the guest has said something.
//!
//! In `Open` both directions end on their own: what goes out with our FIN and the guest's acknowledgement of it, what
//! comes in with the guest's FIN. When both have ended, the connection is over.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::seq::Seq;
use crate::net::wire::{Tcp, flag};

/// Most bytes that wait in one connection, in each direction.
pub const MOST_BUFFERED: usize = 1 << 20;

/// Most bytes of memory that a connection keeps in which nothing waits.
const MOST_IDLE: usize = 4 << 10;

/// How far our windows are shifted: enough for [`MOST_BUFFERED`].
const SHIFT: u8 = 5;

/// Largest shift (RFC 7323, 2.3).
const MOST_SHIFT: u8 = 14;

/// What a peer takes that names no size (RFC 9293, 3.7.1), and the least that is believed.
const DEFAULT_MSS: u16 = 536;
const LEAST_MSS: u16 = 88;

/// How long an acknowledgement may take before what was sent is sent again. A guest of a software KVM
/// needs most of it.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often something is sent again, each time after twice the time, before the guest is given up.
const ATTEMPTS: u32 = 7;

/// Acknowledgements of the same byte that say it is missing (RFC 5681, 3.2).
const DUPLICATES: u8 = 3;

/// What bounds a connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes that wait for the host.
    pub inward: usize,
    /// Most data of one segment to the guest.
    pub mss: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The guest's SYN is not answered.
    Held,
    /// It is, and the guest has not said that it knows.
    SynReceived,
    /// Our SYN is not answered.
    SynSent,
    /// Data may flow.
    Open,
}

/// What a segment did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken<'s> {
    /// These bytes are new: the next ones for the host.
    Data(&'s [u8]),
    /// The guest, or its mistake, ended the connection.
    Reset,
}

/// A segment that is due; the data is that of [`Endpoint::outgoing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Everything but ports and data.
    pub header: Tcp<'static>,
    /// Where its data begins among what waits.
    pub from: usize,
    /// How much it is.
    pub len: usize,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Endpoint {
    state: State,
    limits: Limits,
    /// First byte that is not acknowledged, and what is before `out`: our SYN until then.
    una: Seq,
    /// Next byte to send.
    nxt: Seq,
    /// The highest `nxt` there was: going back does not lower it.
    highest: Seq,
    /// The guest's window, bytes from `una`.
    window: usize,
    /// How far its windows are shifted.
    shift: u8,
    mss: usize,
    /// What waits for the guest or for its acknowledgement, from `una` on.
    out: VecDeque<u8>,
    /// The number of our FIN, which follows `out`, once the host says no more.
    fin: Option<Seq>,
    /// Next byte of the guest.
    rcv: Seq,
    /// Bytes behind `rcv`, not yet the host's.
    kept: usize,
    /// The right edge of the window that we told.
    edge: Seq,
    /// The guest says no more.
    in_ended: bool,
    ack_due: bool,
    /// The guest answered our SYN, and may not know that we heard.
    unheard: bool,
    /// The guest is to be asked for its window.
    probe_due: bool,
    /// Whether our windows are shifted, too: both must want it.
    scaled: bool,
    duplicates: u8,
    /// Data before this is sent again already.
    recover: Seq,
    deadline: Option<Instant>,
    attempts: u32,
}

impl Endpoint {
    /// The far end of a connection that the guest begins with `syn`; `seq` is our first number.
    pub fn held(syn: &Tcp<'_>, seq: u32, limits: Limits) -> Self {
        let mut endpoint = Self::new(State::Held, seq, limits);
        endpoint.meet(syn);
        endpoint
    }

    /// The far end that begins a connection to the guest.
    pub fn calling(seq: u32, limits: Limits) -> Self {
        Self::new(State::SynSent, seq, limits)
    }

    fn new(state: State, seq: u32, limits: Limits) -> Self {
        let seq = Seq(seq);
        Self {
            state,
            limits,
            una: seq,
            nxt: seq,
            highest: seq,
            window: 1,
            shift: 0,
            mss: usize::from(DEFAULT_MSS),
            out: VecDeque::new(),
            fin: None,
            rcv: Seq(0),
            kept: 0,
            edge: Seq(0),
            in_ended: false,
            ack_due: false,
            unheard: false,
            probe_due: false,
            scaled: true,
            duplicates: 0,
            recover: seq,
            deadline: None,
            attempts: 0,
        }
    }

    /// What the guest's SYN says.
    fn meet(&mut self, syn: &Tcp<'_>) {
        let mss = syn.mss.unwrap_or(DEFAULT_MSS);
        self.mss = usize::from(mss.clamp(LEAST_MSS, self.limits.mss.max(LEAST_MSS)));
        self.shift = syn.shift.unwrap_or(0).min(MOST_SHIFT);
        self.scaled = syn.shift.is_some();
        self.window = usize::from(syn.window);
        self.rcv = Seq(syn.seq).plus(1);
        self.edge = self.rcv;
    }

    /// The host is connected: the guest's SYN is answered.
    pub fn answer(&mut self) {
        if self.state == State::Held {
            self.state = State::SynReceived;
        }
    }

    /// Whether data may flow.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether both directions have ended, and the guest knows.
    pub fn is_over(&self) -> bool {
        self.in_ended && self.kept == 0 && self.out_is_over() && !self.ack_due
    }

    /// Whether the guest has all that it will get.
    fn out_is_over(&self) -> bool {
        self.fin.is_some_and(|fin| self.una.is_after(fin))
    }

    /// Whether the guest says no more.
    pub fn guest_has_ended(&self) -> bool {
        self.in_ended
    }

    /// When [`Endpoint::expire`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// A reset, as answer to the guest: what it would send if the far end had.
    pub fn reset(&self) -> Tcp<'static> {
        let (seq, flags) = match self.state {
            // Nothing of ours is known yet.
            State::Held => (0, flag::RST | flag::ACK),
            _ => (self.nxt.0, flag::RST | flag::ACK),
        };
        Tcp {
            seq,
            ack: self.rcv.0,
            flags,
            ..Tcp::default()
        }
    }

    /// Takes a segment of the guest.
    pub fn take<'s>(&mut self, segment: &Tcp<'s>, now: Instant) -> Taken<'s> {
        let has = |flag| segment.flags & flag != 0;
        if self.state == State::SynSent {
            return self.take_answer(segment, now);
        }
        let seq = Seq(segment.seq);
        if has(flag::RST) {
            // Only the next byte ends it: a guess does not (RFC 5961, 3.2).
            let is_next = seq == self.rcv || self.state == State::Held;
            return if is_next {
                Taken::Reset
            } else {
                Taken::Data(&[])
            };
        }
        if has(flag::SYN) || !has(flag::ACK) {
            // The SYN again: the answer is on its way, or goes again.
            self.ack_due = self.state != State::Held;
            return Taken::Data(&[]);
        }
        if self.state == State::Held {
            return Taken::Data(&[]);
        }
        if !self.acknowledge(segment, now) {
            return Taken::Data(&[]);
        }
        Taken::Data(self.take_data(seq, segment))
    }

    /// The answer to our SYN.
    fn take_answer<'s>(&mut self, segment: &Tcp<'s>, now: Instant) -> Taken<'s> {
        let has = |flag| segment.flags & flag != 0;
        let is_ours = has(flag::ACK) && Seq(segment.ack) == self.una.plus(1);
        if has(flag::RST) {
            return if is_ours {
                Taken::Reset
            } else {
                Taken::Data(&[])
            };
        }
        if !is_ours || !has(flag::SYN) {
            return Taken::Data(&[]);
        }
        self.meet(segment);
        self.una = Seq(segment.ack);
        self.nxt = self.una;
        self.state = State::Open;
        self.recover = self.una;
        self.highest = self.nxt;
        (self.ack_due, self.unheard) = (true, true);
        (self.attempts, self.deadline) = (0, Some(now + PATIENCE));
        Taken::Data(&[])
    }

    /// What the guest has, and how much more it takes; false when it speaks of what was never sent.
    fn acknowledge(&mut self, segment: &Tcp<'_>, now: Instant) -> bool {
        let ack = Seq(segment.ack);
        if ack.is_after(self.highest) {
            self.ack_due = true;
            return false;
        }
        if std::mem::take(&mut self.unheard) {
            self.attempts = 0;
            self.settle(now);
        }
        if self.una.is_after(ack) {
            // Older than what is known: its data may be new all the same.
            return true;
        }
        let window = usize::from(segment.window) << self.shift;
        let mut acked = ack.count_since(self.una);
        if self.state == State::SynReceived {
            if acked == 0 {
                return false;
            }
            self.state = State::Open;
            acked -= 1;
        }
        let is_repeated = acked == 0
            && ack == self.una
            && self.in_flight() > 0
            && segment.payload.is_empty()
            && window == self.window;
        // The FIN has a number, and no byte.
        self.out.drain(..acked.min(self.out.len()));
        if self.out.is_empty() && self.out.capacity() > MOST_IDLE {
            // Thousands of connections may once have been busy, one after the other.
            self.out = VecDeque::new();
        }
        let moved = ack != self.una;
        self.una = ack;
        if self.una.is_after(self.nxt) {
            self.nxt = self.una;
        }
        if self.window == 0 && window > 0 && self.highest == self.una {
            (self.attempts, self.deadline) = (0, None);
        }
        self.window = window;
        if moved {
            (self.duplicates, self.attempts) = (0, 0);
            self.settle(now);
        } else if is_repeated {
            self.note_duplicate();
        }
        true
    }

    /// One acknowledgement more of the same byte: with the third one everything from it on goes again.
    fn note_duplicate(&mut self) {
        self.duplicates = self.duplicates.saturating_add(1);
        if self.duplicates == DUPLICATES && !self.recover.is_after(self.una) {
            self.recover = self.highest;
            self.nxt = self.una;
        }
    }

    /// What is new of a segment's data, in order and within the window.
    fn take_data<'s>(&mut self, seq: Seq, segment: &Tcp<'s>) -> &'s [u8] {
        let payload = segment.payload;
        let fin = segment.flags & flag::FIN != 0;
        if payload.is_empty() && !fin {
            // Before the window: it asks whether we are there.
            self.ack_due |= self.rcv.is_after(seq);
            return &[];
        }
        self.ack_due = true;
        if self.in_ended || seq.is_after(self.rcv) {
            return &[];
        }
        let known = self.rcv.count_since(seq);
        let Some(new) = payload.get(known..) else {
            return &[];
        };
        let room = self.edge.count_since(self.rcv);
        let is_whole = new.len() <= room;
        let new = &new[..new.len().min(room)];
        self.rcv = self.rcv.plus(new.len());
        self.kept += new.len();
        if fin && is_whole {
            self.in_ended = true;
            self.rcv = self.rcv.plus(1);
            self.edge = self.edge.plus(1);
        }
        new
    }

    /// `count` bytes are the host's now. Whoever waits for a window is told of a much larger one.
    pub fn handed_over(&mut self, count: usize) {
        self.kept = self.kept.saturating_sub(count);
        let told = self.edge.count_since(self.rcv);
        let room = self.limits.inward.saturating_sub(self.kept);
        self.ack_due |= !self.in_ended && room >= told + self.limits.inward / 2;
    }

    /// Other limits from now on. What the guest was told it may send, it may.
    pub fn set_inward_limit(&mut self, inward: usize) {
        self.limits.inward = inward;
    }

    /// Bytes that wait for the guest.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// More of the host's, for the guest.
    pub fn send(&mut self, bytes: &[u8]) {
        debug_assert!(self.fin.is_none(), "nothing follows an end");
        self.out.extend(bytes);
    }

    /// The host says no more, on a connection that is open.
    pub fn end(&mut self) {
        debug_assert!(self.is_open(), "before that nothing is read");
        self.fin = Some(self.una.plus(self.out.len()));
    }

    /// What waits for the guest, in two parts; `from` and `len` are those of [`Due`].
    pub fn outgoing(&self, from: usize, len: usize) -> (&[u8], &[u8]) {
        let (front, back) = self.out.as_slices();
        let part = |skipped: usize, most: usize| {
            let start = from.saturating_sub(skipped).min(most);
            start..(from + len).saturating_sub(skipped).min(most)
        };
        let (first, second) = (part(0, front.len()), part(front.len(), back.len()));
        (&front[first], &back[second])
    }

    /// Bytes, and an end, that are sent and not acknowledged.
    fn in_flight(&self) -> usize {
        self.nxt.count_since(self.una)
    }

    /// The next segment for the guest.
    pub fn next(&mut self, now: Instant) -> Option<Due> {
        match self.state {
            State::Held => None,
            State::SynSent => self.syn(flag::SYN, now),
            State::SynReceived => {
                let due = self.syn(flag::SYN | flag::ACK, now);
                if due.is_none() && self.ack_due {
                    // The guest asks again.
                    self.nxt = self.una;
                    return self.syn(flag::SYN | flag::ACK, now);
                }
                due
            }
            State::Open => self.data(now),
        }
    }

    fn syn(&mut self, flags: u8, now: Instant) -> Option<Due> {
        if self.nxt != self.una {
            return None;
        }
        let seq = self.nxt;
        self.advance(1, now);
        let mut header = self.header(flags, seq);
        // A window in a SYN is not shifted (RFC 7323, 2.2), so what it grants is less.
        header.window = u16::try_from(self.limits.inward).unwrap_or(u16::MAX);
        self.edge = self.rcv.plus(header.window.into());
        if flags == flag::SYN {
            header.ack = 0;
        }
        header.mss = Some(self.limits.mss);
        header.shift = self.scaled.then_some(SHIFT);
        Some(Due {
            header,
            from: 0,
            len: 0,
        })
    }

    fn data(&mut self, now: Instant) -> Option<Due> {
        let sent = self.in_flight();
        let unsent = self.out.len().saturating_sub(sent);
        let room = self.window.saturating_sub(sent);
        let len = unsent.min(room).min(self.mss);
        // Half a segment into half a window is worth nothing while more is acknowledged soon.
        let is_silly = len < unsent && len < self.mss && sent > 0;
        let is_fin = self.fin == Some(self.nxt.plus(len));
        if (len == 0 || is_silly) && !is_fin {
            if unsent > 0 && sent == 0 && self.deadline.is_none() {
                // A closed window: ask now and then whether it is open.
                self.deadline = Some(now + self.patience());
            }
            return self.bare();
        }
        let seq = self.nxt;
        let mut flags = flag::ACK;
        if len > 0 && len == unsent {
            flags |= flag::PSH;
        }
        if is_fin {
            flags |= flag::FIN;
        }
        self.advance(len + usize::from(is_fin), now);
        let header = self.header(flags, seq);
        Some(Due {
            header,
            from: sent,
            len,
        })
    }

    /// A segment without data, if there is a reason for one. One that asks for the window has a number that
    /// the guest has seen, which it answers (RFC 9293, 3.8.6.1).
    fn bare(&mut self) -> Option<Due> {
        let asks = std::mem::take(&mut self.probe_due);
        if !asks && !self.ack_due {
            return None;
        }
        let seq = if asks { self.una.before() } else { self.nxt };
        Some(Due {
            header: self.header(flag::ACK, seq),
            from: 0,
            len: 0,
        })
    }

    fn advance(&mut self, count: usize, now: Instant) {
        self.nxt = self.nxt.plus(count);
        if self.nxt.is_after(self.highest) {
            self.highest = self.nxt;
        }
        if self.deadline.is_none() {
            self.deadline = Some(now + self.patience());
        }
    }

    /// A header that acknowledges everything, and tells the window there is.
    fn header(&mut self, flags: u8, seq: Seq) -> Tcp<'static> {
        self.ack_due = false;
        let room = self.limits.inward.saturating_sub(self.kept);
        let shift = if self.scaled { SHIFT } else { 0 };
        let told = self.edge.count_since(self.rcv);
        // A window that was told is not taken back (RFC 9293, 3.8.6).
        let window = u16::try_from(room.max(told) >> shift).unwrap_or(u16::MAX);
        let edge = self.rcv.plus(usize::from(window) << shift);
        if edge.is_after(self.edge) {
            self.edge = edge;
        }
        Tcp {
            seq: seq.0,
            ack: self.rcv.0,
            flags,
            window,
            ..Tcp::default()
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE * (1 << self.attempts.min(ATTEMPTS))
    }

    /// Something was acknowledged: the clock begins anew, if anything is left.
    fn settle(&mut self, now: Instant) {
        let is_left = self.highest.is_after(self.una);
        self.deadline = is_left.then(|| now + self.patience());
    }

    /// The deadline has passed. False when the guest is given up.
    pub fn expire(&mut self, now: Instant) -> bool {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return true;
        }
        self.deadline = None;
        let is_closed = self.window == 0 && !self.out.is_empty();
        if self.unheard && !is_closed && self.highest == self.una {
            self.ack_due = true;
            self.attempts += 1;
            self.deadline = (self.attempts < ATTEMPTS).then(|| now + self.patience());
            return true;
        }
        if is_closed || self.highest == self.una {
            self.probe_due = is_closed;
            self.attempts = (self.attempts + 1).min(ATTEMPTS);
            self.deadline = is_closed.then(|| now + self.patience());
            return true;
        }
        self.attempts += 1;
        self.nxt = self.una;
        self.attempts <= ATTEMPTS
    }
}
