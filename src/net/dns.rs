//! Names: what the host's /etc/hosts says, and for the rest the host's own resolvers, wherever they listen.
//!
//! Queries are passed on as they are, and so are answers: this is no resolver, only the way to one (RFC 5625).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::host;
use super::plan::DNS_PORT;
use super::udp::{Heard, UdpFlow};

/// Bytes of a message's header, and of what follows a question's name (RFC 1035, 4.1).
const HEADER_LEN: usize = 12;
const QUESTION_TAIL: usize = 4;

/// Bits of a header's third and fourth byte: a response; recursion was wanted; recursion is available; the server
/// failed.
const RESPONSE: u8 = 0x80;
const WANTED: u8 = 0x01;
const AVAILABLE: u8 = 0x80;
const FAILED: u8 = 2;

/// Types of records, and the one class (RFC 1035, 3.2; RFC 3596).
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// How long an answer of /etc/hosts may be kept, seconds.
const LIFETIME: u32 = 1;

/// The host's ways to names.
#[derive(Debug)]
pub struct Names {
    servers: Vec<SocketAddr>,
    /// The one that answered last, or the first.
    preferred: usize,
    /// /etc/hosts, until somebody asks.
    text: String,
    hosts: HashMap<String, Vec<IpAddr>>,
}

impl Names {
    /// Of a host with these resolvers; without any it is one on its own loopback (resolv.conf(5)).
    pub fn new(mut servers: Vec<SocketAddr>, text: String) -> Self {
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
        }
        Self {
            servers,
            preferred: 0,
            text,
            hosts: HashMap::new(),
        }
    }

    /// The resolver to ask now.
    pub fn server(&self) -> SocketAddr {
        self.servers[self.preferred % self.servers.len()]
    }

    /// That one does not answer: the next one.
    fn give_up_server(&mut self) {
        self.preferred = (self.preferred + 1) % self.servers.len();
    }

    /// The answer of /etc/hosts to `query`, if it has the name.
    pub fn answer(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let question = Question::parse(query)?;
        if !self.text.is_empty() {
            self.hosts = parse_hosts(&std::mem::take(&mut self.text));
        }
        let addresses = self.hosts.get(&question.name)?;
        let wanted = |address: &&IpAddr| match question.kind {
            TYPE_A => address.is_ipv4(),
            TYPE_AAAA => address.is_ipv6(),
            _ => false,
        };
        if !matches!(question.kind, TYPE_A | TYPE_AAAA) {
            return None;
        }
        Some(question.answer(query, addresses.iter().filter(wanted)))
    }
}

/// The one question of a query.
struct Question {
    name: String,
    kind: u16,
    /// Where it ends in the message.
    end: usize,
}

impl Question {
    fn parse(query: &[u8]) -> Option<Self> {
        let header = query.get(..HEADER_LEN)?;
        // A standard query with one question, and no answer.
        let is_query = header[2] & 0xf8 == 0 && header[4..8] == [0, 1, 0, 0];
        if !is_query {
            return None;
        }
        let (name, at) = parse_name(query)?;
        let tail = query.get(at..at + QUESTION_TAIL)?;
        let class = u16::from_be_bytes([tail[2], tail[3]]);
        (class == CLASS_IN).then_some(Self {
            name,
            kind: u16::from_be_bytes([tail[0], tail[1]]),
            end: at + QUESTION_TAIL,
        })
    }

    /// An answer with the addresses, all of the question's type.
    fn answer<'a>(&self, query: &[u8], addresses: impl Iterator<Item = &'a IpAddr>) -> Vec<u8> {
        /// A record's name: the question's, by its offset (RFC 1035, 4.1.4).
        const NAME: [u8; 2] = [0xc0, 12];
        let mut message = query[..self.end].to_vec();
        message[2] = RESPONSE | (query[2] & WANTED);
        message[3] = AVAILABLE;
        let mut count = 0u16;
        for address in addresses {
            let octets = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            message.extend(NAME);
            message.extend(self.kind.to_be_bytes());
            message.extend(CLASS_IN.to_be_bytes());
            message.extend(LIFETIME.to_be_bytes());
            message.extend([0, if address.is_ipv4() { 4 } else { 16 }]);
            message.extend(octets);
            count += 1;
        }
        message[6..8].copy_from_slice(&count.to_be_bytes());
        message[8..HEADER_LEN].fill(0);
        message
    }
}

/// A name without compression, as a query has it, in lower case; and where it ends.
fn parse_name(query: &[u8]) -> Option<(String, usize)> {
    /// Longest name (RFC 1035, 2.3.4).
    const MOST: usize = 255;
    let mut name = String::new();
    let mut at = HEADER_LEN;
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            return Some((name, at));
        }
        let label = query.get(at..at + len).filter(|_| len < 64)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(
            label
                .iter()
                .map(|byte| char::from(byte.to_ascii_lowercase())),
        );
        if name.len() > MOST {
            return None;
        }
        at += len;
    }
}

/// The names of /etc/hosts (hosts(5)). The host's loopback is no answer for somebody else.
fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        if address.is_loopback() {
            continue;
        }
        for name in words {
            let addresses = hosts.entry(name.to_ascii_lowercase()).or_default();
            addresses.push(address);
        }
    }
    hosts
}

/// The answer that there is none.
fn failure(query: &[u8]) -> Option<Vec<u8>> {
    let question = Question::parse(query)?;
    let mut message = query[..question.end].to_vec();
    message[2] = RESPONSE | (query[2] & WANTED);
    message[3] = AVAILABLE | FAILED;
    message[6..HEADER_LEN].fill(0);
    Some(message)
}

/// Queries of one of the guest's ports, on their way to a resolver.
#[derive(Debug)]
pub struct DnsFlow {
    /// The way to it.
    pub udp: UdpFlow,
    /// The last query, until it is answered.
    query: Vec<u8>,
    /// How many resolvers were asked it.
    tried: usize,
}

/// What became of queries.
#[derive(Debug)]
pub enum Answer<'b> {
    /// An answer.
    Message(&'b [u8]),
    /// Another resolver is asked: there is a new socket to be watched.
    Moved,
    /// Nothing yet.
    Nothing,
}

impl DnsFlow {
    /// Asks the resolver that answered last.
    pub fn new(names: &Names) -> std::io::Result<Self> {
        Ok(Self {
            udp: UdpFlow::new(host::connect_udp(names.server())?),
            query: Vec::new(),
            tried: 0,
        })
    }

    /// Passes a query on. True when it is asked again, because nobody answered, and another resolver is
    /// asked: there is a new socket to be watched.
    pub fn take(&mut self, query: &[u8], names: &mut Names) -> bool {
        let is_again = self.query == query;
        if !is_again {
            self.query = query.to_vec();
            self.tried = 0;
        }
        let moved = is_again && self.move_on(names);
        self.udp.take(query);
        moved
    }

    /// Over to the next resolver, if there is one.
    fn move_on(&mut self, names: &mut Names) -> bool {
        names.give_up_server();
        self.tried += 1;
        match host::connect_udp(names.server()) {
            Ok(socket) if names.servers.len() > 1 => {
                self.udp = UdpFlow::new(socket);
                true
            }
            _ => false,
        }
    }

    /// The next answer for the guest, in `scratch`.
    pub fn next<'b>(&mut self, scratch: &'b mut [u8], names: &mut Names) -> Answer<'b> {
        let len = match self.udp.next(scratch) {
            Heard::Datagram(message) => message.len(),
            Heard::Nothing => return Answer::Nothing,
            Heard::Refused(_) => return self.refused(scratch, names),
        };
        self.query.clear();
        Answer::Message(&scratch[..len])
    }

    /// Nobody is at the resolver's port: another one is asked the same, or there is no answer.
    fn refused<'b>(&mut self, scratch: &'b mut [u8], names: &mut Names) -> Answer<'b> {
        let query = std::mem::take(&mut self.query);
        if self.tried + 1 < names.servers.len() && self.move_on(names) {
            self.udp.take(&query);
            self.query = query;
            return Answer::Moved;
        }
        self.tried = 0;
        match failure(&query) {
            Some(message) if message.len() <= scratch.len() => {
                scratch[..message.len()].copy_from_slice(&message);
                Answer::Message(&scratch[..message.len()])
            }
            _ => Answer::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query with `id` 0x1234 for `name`.
    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        // EDNS, as resolvers of today add it.
        message.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
        message
    }

    fn names(text: &str) -> Names {
        Names::new(Vec::new(), text.to_owned())
    }

    #[test]
    fn hosts_are_answered_from_the_hosts_file() {
        let mut names = names(
            "127.0.0.1 localhost\n10.1.2.3 Db db.example # 10.9.9.9 x\nnonsense\n::5 db\n127.0.1.1 me",
        );
        let answer = names.answer(&query("DB", TYPE_A)).unwrap();
        assert_eq!(
            answer[..12],
            [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]
        );
        assert_eq!(answer[answer.len() - 6..], [0, 4, 10, 1, 2, 3]);
        let answer = names.answer(&query("db", TYPE_AAAA)).unwrap();
        assert_eq!(answer[answer.len() - 2..], [0, 5]);
        let nothing = names.answer(&query("db.example", TYPE_AAAA)).unwrap();
        assert_eq!(
            nothing[6..8],
            [0, 0],
            "the name is there, and has no such address"
        );
        for unknown in ["x", "localhost", "me", "elsewhere"] {
            assert_eq!(names.answer(&query(unknown, TYPE_A)), None, "{unknown}");
        }
        assert_eq!(names.answer(&query("db", 15)), None);
    }

    #[test]
    fn what_is_no_query_has_no_answer() {
        let mut names = names("10.1.2.3 db");
        let whole = query("db", TYPE_A);
        for len in 0..HEADER_LEN + 3 {
            assert_eq!(names.answer(&whole[..len]), None, "{len}");
        }
        let mut response = whole.clone();
        response[2] |= RESPONSE;
        assert_eq!(names.answer(&response), None);
        let mut pointer = whole;
        pointer[HEADER_LEN] = 0xc0;
        assert_eq!(names.answer(&pointer), None);
    }

    #[test]
    fn without_resolvers_it_is_the_hosts_own() {
        let names = names("");
        assert_eq!(names.server().to_string(), "127.0.0.1:53");
    }
}
