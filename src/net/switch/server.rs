//! The switch itself: connections, as they come and go, and packets from one to another.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::message::{self, Join, LONGEST, Member, Message, Word};
use super::table::{MOST_MEMBERS, Table};
use crate::net::outbox::Outbox;
use crate::net::poller::Poller;
use crate::spec::Subnets;
use crate::sys::seqpacket::{Listener, Seqpacket};

/// Bytes of packets that wait for a member; what comes then is lost, as on a cable.
const MOST_WAITING: usize = 4 << 20;

/// Bytes of packets that wait for all members together, before only those are taken on that need not wait.
const MOST_IN_ALL: usize = 64 << 20;

/// Bytes that wait for a member, words included: who lets so many wait does not listen.
const MOST_UNHEARD: usize = 2 * MOST_WAITING;

/// Messages taken from a member before others have their turn.
const TURN: usize = 64;

/// Connections of who is no member (yet).
const MOST_VISITORS: usize = 64;

/// The connection of who connects: no client's number.
const LISTENER: u64 = 0;

/// A switch.
#[derive(Debug)]
pub struct Switch {
    listener: Listener,
    poller: Poller,
    table: Table,
    clients: BTreeMap<u64, Client>,
    most_clients: usize,
    next: u64,
    /// Those that may have said something.
    ready: VecDeque<u64>,
    scratch: Vec<u8>,
}

/// Somebody who is connected.
#[derive(Debug)]
struct Client {
    socket: Seqpacket,
    /// Who it is on the network, if it is.
    member: Option<Member>,
    /// What waits for it.
    outbox: Outbox,
    is_ready: bool,
}

impl Client {
    /// Sends it a message, or has it wait; false when it has not listened for too long.
    fn tell(&mut self, message: &[u8], most: usize) -> bool {
        self.outbox.send(&self.socket, message, most)
    }
}

impl Switch {
    /// A switch of a network with these addresses, in a process that may have so many files open.
    pub fn new(listener: Listener, subnets: Subnets, open_files: usize) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.watch(&listener, LISTENER)?;
        let most_members = MOST_MEMBERS.min(open_files / 2);
        Ok(Self {
            listener,
            poller,
            table: Table::new(subnets, most_members),
            clients: BTreeMap::new(),
            most_clients: most_members + MOST_VISITORS,
            next: LISTENER + 1,
            ready: VecDeque::new(),
            scratch: vec![0; LONGEST],
        })
    }

    /// Whether nobody is connected.
    pub fn is_deserted(&self) -> bool {
        self.clients.is_empty()
    }

    /// Does what there is to do, after waiting for it so long at most.
    pub fn work(&mut self, patience: Option<Duration>) -> io::Result<()> {
        if self.ready.is_empty() {
            let limit = patience.and_then(|patience| Timespec::try_from(patience).ok());
            let mut entry = [PollFd::from_borrowed_fd(self.poller.as_fd(), PollFlags::IN)];
            match poll(&mut entry, limit.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        for ready in self.poller.take()? {
            if ready.token == LISTENER {
                self.accept();
                continue;
            }
            let Some(client) = self.clients.get_mut(&ready.token) else {
                continue;
            };
            if ready.writable {
                client.outbox.flush(&client.socket);
            }
            if ready.readable && !client.is_ready {
                client.is_ready = true;
                self.ready.push_back(ready.token);
            }
        }
        if let Some(token) = self.ready.pop_front() {
            self.hear(token);
        }
        Ok(())
    }

    /// Takes everybody who has connected.
    pub fn accept(&mut self) {
        loop {
            let socket = match self.listener.accept() {
                Ok(socket) => socket,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Nobody, or no file for it: the next one may have more luck.
                Err(_) => return,
            };
            let token = self.next;
            if self.clients.len() >= self.most_clients || self.poller.watch(&socket, token).is_err()
            {
                continue;
            }
            self.next += 1;
            let client = Client {
                socket,
                member: None,
                outbox: Outbox::default(),
                is_ready: false,
            };
            self.clients.insert(token, client);
        }
    }

    /// Takes what a client says, up to its turn's end.
    fn hear(&mut self, token: u64) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for _ in 0..TURN {
            let Some(client) = self.clients.get_mut(&token) else {
                break;
            };
            let taken = match client.socket.take(&mut scratch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    client.is_ready = false;
                    break;
                }
                // It is gone, or says what is longer than anything that is said.
                Err(_) | Ok(None) => false,
                Ok(Some(len)) => self.obey(token, &scratch[..len]),
            };
            if !taken {
                self.dismiss(token);
            }
        }
        self.scratch = scratch;
        // There may be more.
        if self
            .clients
            .get(&token)
            .is_some_and(|client| client.is_ready)
        {
            self.ready.push_back(token);
        }
    }

    /// Does what a message says; false where nobody may say it.
    fn obey(&mut self, token: u64, bytes: &[u8]) -> bool {
        match message::decode(bytes) {
            Some(Message::Packet(packet)) => {
                let sender = self.clients.get(&token);
                let sender = sender.and_then(|client| client.member.as_ref());
                let Some(sender) = sender else { return false };
                if sender.has(packet.ends.source)
                    && let Some(target) = self.table.find(packet.ends.target)
                {
                    self.pass(target, bytes);
                }
                true
            }
            Some(Message::Word(Word::Join(join))) => self.join(token, join),
            Some(Message::Word(Word::List)) => self.list(token),
            Some(Message::Word(Word::Rename { id, name })) => self.rename(token, &id, &name),
            // A packet that is none is lost; a member is not believed to be able to say anything else.
            Some(Message::Word(_)) | None => self.is_member(token),
        }
    }

    /// Passes a packet on. It is lost where there is no room for it.
    fn pass(&mut self, target: u64, packet: &[u8]) {
        let is_behind = |client: &Client| !client.outbox.is_empty();
        let most = match self.clients.get(&target).is_some_and(is_behind) {
            true if self.waiting() > MOST_IN_ALL => 0,
            _ => MOST_WAITING,
        };
        if let Some(target) = self.clients.get_mut(&target) {
            let _lost = target.tell(packet, most);
        }
    }

    /// Bytes that wait for anybody.
    fn waiting(&self) -> usize {
        self.clients
            .values()
            .map(|client| client.outbox.waiting())
            .sum()
    }

    fn is_member(&self, token: u64) -> bool {
        let client = self.clients.get(&token);
        client.is_some_and(|client| client.member.is_some())
    }

    fn join(&mut self, token: u64, join: Join) -> bool {
        if self.is_member(token) {
            return false;
        }
        let Some(client) = self.clients.get_mut(&token) else {
            return false;
        };
        match self.table.seat(token, join) {
            Err(why) => client.tell(&Word::Refused { why }.encode(), MOST_UNHEARD),
            Ok(member) => {
                let (v4, v6) = (member.v4, member.v6);
                client.member = Some(member.clone());
                let others = self.table.members().filter(|other| other.v4 != v4);
                let told = others.map(|other| Word::Came(other.clone()));
                let is_told = [Word::Seated { v4, v6 }]
                    .into_iter()
                    .chain(told)
                    .all(|word| client.tell(&word.encode(), MOST_UNHEARD));
                self.tell_all(&Word::Came(member));
                is_told
            }
        }
    }

    fn list(&mut self, token: u64) -> bool {
        let Some(client) = self.clients.get_mut(&token) else {
            return false;
        };
        let all = self.table.members().map(|one| Word::Came(one.clone()));
        client.member.is_none()
            && all
                .chain([Word::All])
                .all(|word| client.tell(&word.encode(), MOST_UNHEARD))
    }

    /// Has a member be found by another name.
    fn rename(&mut self, token: u64, id: &str, name: &str) -> bool {
        if self.is_member(token) {
            return false;
        }
        let answer = match self.table.rename(id, name) {
            Ok(None) => Word::All,
            Ok(Some((number, member))) => {
                if let Some(client) = self.clients.get_mut(&number) {
                    client.member = Some(member.clone());
                }
                self.tell_all(&Word::Came(member));
                Word::All
            }
            Err(why) => Word::Refused { why },
        };
        let client = self.clients.get_mut(&token);
        client.is_some_and(|client| client.tell(&answer.encode(), MOST_UNHEARD))
    }

    /// Says a word to all members. Who does not listen loses its place.
    fn tell_all(&mut self, word: &Word) {
        let message = word.encode();
        let mut deaf = Vec::new();
        for (token, client) in &mut self.clients {
            if client.member.is_some() && !client.tell(&message, MOST_UNHEARD) {
                deaf.push(*token);
            }
        }
        deaf.into_iter().for_each(|token| self.dismiss(token));
    }

    /// Ends a connection.
    fn dismiss(&mut self, token: u64) {
        let client = self.clients.remove(&token);
        if let Some(member) = client.and_then(|client| client.member) {
            self.table.remove(&member);
            self.tell_all(&Word::Left { v4: member.v4 });
        }
    }
}
