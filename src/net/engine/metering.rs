//! What flows is counted: for who wants to know, and for what may flow. Conversations that find too little wait in line
//! until there is more; when nothing may flow any more, all of them end.

use std::time::{Duration, Instant};

use super::Network;
use crate::net::flows::{Id, Kind, Moved};

/// The two ways: to the far end, and from there.
pub(super) const SENT: usize = 0;
pub(super) const RECEIVED: usize = 1;

impl Network {
    /// What a conversation may move now, if others want the same.
    pub(super) fn share(&mut self, now: Instant) -> Moved {
        self.meter.share(self.ready.len(), now)
    }

    /// Whether a datagram may go now.
    pub(super) fn may_send(&mut self, now: Instant) -> bool {
        self.meter.share(1, now).sent > 0
    }

    /// Counts what has gone over a conversation.
    pub(super) fn count(&mut self, id: Id) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        let mut moved = std::mem::take(&mut flow.moved);
        let mut short = [false; 2];
        if let Kind::Tcp(tcp) = &mut flow.kind {
            let (sent, received) = tcp.moved();
            moved.sent += sent;
            moved.received += received;
            short = tcp.short();
        }
        if let Some(line) = flow.line {
            self.attempts.add(line, moved);
        }
        self.spend(moved);
        for way in [SENT, RECEIVED] {
            if short[way] {
                self.wait_for_more(id, way);
            }
        }
    }

    /// So much has flowed.
    pub(super) fn spend(&mut self, moved: Moved) {
        let was_spent = self.meter.is_spent();
        self.meter.spend(moved);
        if self.meter.is_spent() && !was_spent {
            self.end_all();
        }
    }

    /// A conversation goes on when more may flow that way.
    pub(super) fn wait_for_more(&mut self, id: Id, way: usize) {
        if let Some(flow) = self.flows.get(id)
            && !flow.is_short[way]
        {
            flow.is_short[way] = true;
            self.short[way].push(id);
        }
    }

    /// Lets those go on for which there is more now.
    pub(super) fn relieve(&mut self, now: Instant) {
        for way in [SENT, RECEIVED] {
            if self.short[way].is_empty() || !self.meter.patience(way, now).is_zero() {
                continue;
            }
            for id in std::mem::take(&mut self.short[way]) {
                if let Some(flow) = self.flows.get(id) {
                    flow.is_short[way] = false;
                    self.line_up(id);
                }
            }
        }
    }

    /// How long until [`Network::relieve`] has something to do.
    pub(super) fn until_relief(&self, now: Instant) -> Option<Duration> {
        let ways = [SENT, RECEIVED].into_iter();
        let waited = ways.filter(|way| !self.short[*way].is_empty());
        waited.map(|way| self.meter.patience(way, now)).min()
    }

    /// Everything that may flow has: connections are reset, and of everything else nobody hears again.
    fn end_all(&mut self) {
        for id in self.flows.ids() {
            match self.flows.get(id).map(|flow| &mut flow.kind) {
                Some(Kind::Tcp(tcp)) => {
                    tcp.end();
                    self.line_up(id);
                }
                _ => drop(self.flows.remove(id)),
            }
        }
    }
}
