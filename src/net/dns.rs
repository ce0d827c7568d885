//! Names: what the host's /etc/hosts says, and for the rest the host's own resolvers, wherever they listen.
//!
//! Queries are passed on as they are, and so are answers: this is no resolver, only the way to one (RFC 5625). Where
//! the policy speaks of names, a question goes on alone, and an answer is looked at before the guest is told. By TCP it is the
//! same ([`stream`]).

mod hosts;
pub mod message;
pub mod stream;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use message::{Failure, Question, Record, TYPE_A, TYPE_AAAA};

use super::attempts::{Attempts, Tried};
use super::host;
use super::plan::DNS_PORT;
use super::policy::{LONGEST_TTL, Policy, refused};
use super::udp::{Heard, UdpFlow};
use crate::spec::{Verdict, Why};

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

    /// How many there are.
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// That one does not answer: the next one.
    pub fn give_up_server(&mut self) {
        self.preferred = (self.preferred + 1) % self.servers.len();
    }

    /// The answer of /etc/hosts to `query`, if it has the name; what it says is believed by the policy.
    pub fn answer(
        &mut self,
        (question, query): (&Question, &[u8]),
        policy: &mut Policy,
        now: Instant,
    ) -> Option<Vec<u8>> {
        if !self.text.is_empty() {
            self.hosts = hosts::parse(&std::mem::take(&mut self.text));
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
        let addresses = || addresses.iter().filter(wanted);
        addresses().for_each(|address| policy.learn(&question.name, *address, LIFETIME, true, now));
        Some(question.answer(query, addresses(), LIFETIME))
    }
}

/// By what an answer is judged, and where that is written down.
#[derive(Debug)]
pub struct Judges<'a> {
    /// The host's ways to names.
    pub names: &'a mut Names,
    /// Whom the guest may reach.
    pub policy: &'a mut Policy,
    /// What was tried.
    pub attempts: &'a mut Attempts,
    /// Now.
    pub now: Instant,
}

impl Judges<'_> {
    /// What a resolver's answer is for the guest: `message` itself, or else another one, or nothing. The policy learns
    /// which addresses the name has.
    pub fn admit(&mut self, message: &mut [u8]) -> Option<Vec<u8>> {
        let guards = self.policy.guards_names();
        let Some((question, records)) = message::parse_response(message) else {
            // Nothing that anybody could be sure of.
            return guards.then(Vec::new);
        };
        if let Some(verdict) = self.objection(&question, &records) {
            let asked = Tried::Name(question.name.clone());
            self.attempts.note(asked, verdict, None);
            return Some(question.fail(message, Failure::Refused));
        }
        for record in &records {
            if let Some(address) = record.address {
                let name = &question.name;
                self.policy
                    .learn(name, address, record.ttl, false, self.now);
            }
        }
        if guards {
            message::shorten(message, &records, LONGEST_TTL);
        }
        None
    }

    /// Why the guest is not told, if it is not.
    fn objection(&self, question: &Question, records: &[Record]) -> Option<Verdict> {
        let own = self.policy.judge_name(&question.name);
        let mut records = records.iter();
        let leads_inside = |record: &Record| {
            let address = record.address;
            address.is_some_and(|address| !self.policy.admits(address))
        };
        if !own.allows {
            return Some(own);
        }
        if let Some(denied) = records
            .clone()
            .find_map(|record| self.policy.denial_of(&record.name))
        {
            return Some(denied);
        }
        records.any(leads_inside).then(|| refused(Why::Rebinding))
    }
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
pub enum Answer {
    /// An answer, of so many bytes.
    Message(usize),
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
    pub fn next(&mut self, scratch: &mut [u8], judges: &mut Judges<'_>) -> Answer {
        loop {
            let len = match self.udp.next(scratch) {
                Heard::Datagram(message) => message.len(),
                Heard::Nothing => return Answer::Nothing,
                Heard::Refused(_) => return self.refused(scratch, judges.names),
            };
            self.query.clear();
            match judges.admit(&mut scratch[..len]) {
                None => return Answer::Message(len),
                Some(other) if other.is_empty() => {}
                Some(other) => return write(&other, scratch),
            }
        }
    }

    /// Nobody is at the resolver's port: another one is asked the same, or there is no answer.
    fn refused(&mut self, scratch: &mut [u8], names: &mut Names) -> Answer {
        let query = std::mem::take(&mut self.query);
        if self.tried + 1 < names.servers.len() && self.move_on(names) {
            self.udp.take(&query);
            self.query = query;
            return Answer::Moved;
        }
        self.tried = 0;
        let failure =
            Question::asked(&query).map(|asked| asked.fail(&query, Failure::ServerFailed));
        failure.map_or(Answer::Nothing, |message| write(&message, scratch))
    }
}

/// Puts a message of ours into `scratch`.
fn write(message: &[u8], scratch: &mut [u8]) -> Answer {
    match scratch.get_mut(..message.len()) {
        Some(place) => {
            place.copy_from_slice(message);
            Answer::Message(message.len())
        }
        None => Answer::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::message::parse_response;
    use super::message::tests::{query, response};
    use super::*;
    use crate::spec::{Carrier, EgressPolicy};

    fn names(text: &str) -> Names {
        Names::new(Vec::new(), text.to_owned())
    }

    fn policy(text: &str) -> Policy {
        Policy::new(EgressPolicy::parse(&[text.to_owned()]).unwrap())
    }

    fn admit(message: &mut [u8], policy: &mut Policy, now: Instant) -> Option<Vec<u8>> {
        let mut judges = Judges {
            names: &mut names(""),
            policy,
            attempts: &mut Attempts::default(),
            now,
        };
        judges.admit(message)
    }

    fn answer(names: &mut Names, query: &[u8]) -> Option<Vec<u8>> {
        let question = Question::asked(query)?;
        names.answer((&question, query), &mut Policy::default(), Instant::now())
    }

    #[test]
    fn hosts_are_answered_from_the_hosts_file() {
        let mut names = names(
            "127.0.0.1 localhost\n10.1.2.3 Db db.example # 10.9.9.9 x\nnonsense\n::5 db\n127.0.1.1 me",
        );
        let found = answer(&mut names, &query("DB", TYPE_A)).unwrap();
        assert_eq!(
            found[..12],
            [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]
        );
        assert_eq!(found[found.len() - 6..], [0, 4, 10, 1, 2, 3]);
        let found = answer(&mut names, &query("db", TYPE_AAAA)).unwrap();
        assert_eq!(found[found.len() - 2..], [0, 5]);
        let nothing = answer(&mut names, &query("db.example", TYPE_AAAA)).unwrap();
        assert_eq!(
            nothing[6..8],
            [0, 0],
            "the name is there, and has no such address"
        );
        for unknown in ["x", "localhost", "me", "elsewhere"] {
            let query = query(unknown, TYPE_A);
            assert_eq!(answer(&mut names, &query), None, "{unknown}");
        }
        assert_eq!(answer(&mut names, &query("db", 15)), None);
    }

    #[test]
    fn what_is_no_query_has_no_answer() {
        let mut names = names("10.1.2.3 db");
        let whole = query("db", TYPE_A);
        for len in 0..whole.len() - 11 {
            assert_eq!(answer(&mut names, &whole[..len]), None, "{len}");
        }
        let mut response = whole.clone();
        response[2] |= 0x80;
        assert_eq!(answer(&mut names, &response), None);
        let mut pointer = whole;
        pointer[12] = 0xc0;
        assert_eq!(answer(&mut names, &pointer), None);
    }

    #[test]
    fn without_resolvers_it_is_the_hosts_own() {
        let names = names("");
        assert_eq!(names.server().to_string(), "127.0.0.1:53");
    }

    #[test]
    fn an_answer_opens_the_addresses_that_it_gives() {
        let (mut policy, now) = (policy("allow:a.example"), Instant::now());
        let public = IpAddr::from([192, 0, 2, 1]);
        let mut told = response(&query("A.Example", TYPE_A), "b.example", &[public], 1 << 30);
        assert_eq!(admit(&mut told, &mut policy, now), None);
        let (_, records) = parse_response(&told).unwrap();
        assert_eq!(records[1].ttl, LONGEST_TTL);
        let peer = SocketAddr::new(public, 80);
        assert!(policy.judge(Carrier::Tcp, peer, now).allows);
    }

    #[test]
    fn an_answer_that_leads_inside_is_refused_whole_and_opens_nothing() {
        let now = Instant::now();
        let public = IpAddr::from([192, 0, 2, 1]);
        for inside in ["10.1.2.3", "127.0.0.1", "169.254.169.254", "fd00::1", "::1"] {
            let inside: IpAddr = inside.parse().unwrap();
            for words in ["public", "allow:a.example", "allow:a.example,public"] {
                let mut policy = policy(words);
                let asked = query("a.example", TYPE_A);
                let mut told = response(&asked, "b.example", &[public, inside], 60);
                let refused = admit(&mut told, &mut policy, now).unwrap();
                assert_eq!(
                    refused[..8],
                    [0x12, 0x34, 0x81, 0x85, 0, 1, 0, 0],
                    "{words}"
                );
                for address in [public, inside] {
                    let peer = SocketAddr::new(address, 80);
                    let expected = words.contains("public") && address == public;
                    let allowed = policy.judge(Carrier::Tcp, peer, now).allows;
                    assert_eq!(allowed, expected, "{words} {address}");
                }
            }
            let mut told = response(&query("a.example", TYPE_A), "b.example", &[inside], 60);
            assert_eq!(admit(&mut told, &mut policy("any"), now), None);
        }
    }

    #[test]
    fn an_answer_by_way_of_a_name_that_is_denied_is_none() {
        let now = Instant::now();
        let public = IpAddr::from([192, 0, 2, 1]);
        let mut told = response(&query("a.example", TYPE_A), "evil.example", &[public], 60);
        for (words, is_told) in [
            ("deny:evil.example,any", false),
            ("deny:evil.example:25,any", true),
            ("deny:*.example,any", false),
            ("allow:a.example", true),
            ("allow:b.example", false),
        ] {
            let told = admit(&mut told, &mut policy(words), now);
            assert_eq!(told.is_none(), is_told, "{words}");
        }
        // What nobody can read is told only where it does not matter.
        assert_eq!(admit(&mut [7; 30], &mut policy("any"), now), None);
        let unread = admit(&mut [7; 30], &mut policy("allow:a"), now);
        assert_eq!(unread, Some(Vec::new()));
    }
}
