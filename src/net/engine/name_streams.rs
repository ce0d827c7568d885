//! What the guest asks of names by TCP: the same as by datagrams, answered or passed on message by message.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::Network;
use super::names::Asked;
use crate::net::dns::Judges;
use crate::net::dns::message::{Failure, Question};
use crate::net::dns::stream::{NameStream, Told};
use crate::net::flows::Id;
use crate::net::host;

/// Most connections for queries at once. Each has three sockets at most, and two messages.
const MOST: usize = 64;

impl Network {
    /// A connection for queries, and the socket that is its far end; none where there are enough.
    pub(super) fn open_names(&self, now: Instant) -> io::Result<(OwnedFd, NameStream)> {
        // One is ours.
        if Arc::strong_count(&self.name_streams) > MOST {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        NameStream::open(Arc::clone(&self.name_streams), now)
    }

    /// The conversation `id` is one for queries, over `stream`.
    pub(super) fn begin_names(&mut self, id: Id, stream: NameStream, now: Instant) {
        if self.poller.watch(stream.socket(), id.token()).is_err() {
            // Dropped, it ends the conversation.
            return;
        }
        if let Some(flow) = self.flows.get(id) {
            flow.names = Some(Box::new(stream));
        }
        self.serve_names(id, now);
    }

    /// Does what there is to do for the conversation `id`, if it is one for queries.
    pub(super) fn serve_names(&mut self, id: Id, now: Instant) {
        let taken = self.flows.get(id).and_then(|flow| flow.names.take());
        let Some(mut stream) = taken else { return };
        if self.talk(&mut stream, id, now)
            && let Some(flow) = self.flows.get(id)
        {
            flow.names = Some(stream);
        }
        self.flows.arm(id);
    }

    /// Whether it goes on.
    fn talk(&mut self, stream: &mut NameStream, id: Id, now: Instant) -> bool {
        loop {
            match stream.next(now) {
                Told::Nothing => return true,
                Told::Over => return false,
                Told::Query(query) => match self.ask(&query, now) {
                    Asked::Answered(answer) => stream.answer(&answer, now),
                    Asked::Nothing => return false,
                    Asked::On(alone) => {
                        let query = alone.unwrap_or(query);
                        if !self.pass_on(stream, query, (id, 0), now) {
                            return false;
                        }
                    }
                },
                Told::Answer(mut message) => {
                    let mut judges = Judges {
                        names: &mut self.names,
                        policy: &mut self.policy,
                        attempts: &mut self.attempts,
                        now,
                    };
                    match judges.admit(&mut message) {
                        None => stream.answer(&message, now),
                        Some(other) if other.is_empty() => return false,
                        Some(other) => stream.answer(&other, now),
                    }
                }
                Told::Lost(query, tried) => {
                    self.names.give_up_server();
                    if !self.pass_on(stream, query, (id, tried), now) {
                        return false;
                    }
                }
            }
        }
    }

    /// Asks a resolver that was not asked yet, or says that there is none; false where nothing can be said.
    fn pass_on(
        &mut self,
        stream: &mut NameStream,
        query: Vec<u8>,
        (id, mut tried): (Id, usize),
        now: Instant,
    ) -> bool {
        while tried < self.names.count() {
            let socket = host::connect_tcp(self.names.server());
            let watched = socket.and_then(|socket| {
                self.poller.watch(&socket, id.token())?;
                Ok(socket)
            });
            match watched {
                Ok(socket) => {
                    stream.pass_on(query, socket, tried, now);
                    return true;
                }
                Err(_) => self.names.give_up_server(),
            }
            tried += 1;
        }
        let failure =
            Question::asked(&query).map(|asked| asked.fail(&query, Failure::ServerFailed));
        if let Some(failure) = &failure {
            stream.answer(failure, now);
        }
        failure.is_some()
    }
}
