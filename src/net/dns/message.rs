//! Messages of the DNS (RFC 1035, 4): questions and what they are answered. Parsing is pure and total.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of a message's header, and of what follows a question's name (RFC 1035, 4.1).
const HEADER_LEN: usize = 12;
const QUESTION_TAIL: usize = 4;

/// Bytes of a record's head behind its name: type, class, lifetime, and how long it is.
const RECORD_HEAD: usize = 10;

/// Bits of a header's third and fourth byte: a response; of who knows it at first hand; recursion was wanted; recursion is
/// available.
const RESPONSE: u8 = 0x80;
const AUTHORITATIVE: u8 = 0x04;
const WANTED: u8 = 0x01;
const AVAILABLE: u8 = 0x80;

/// What a query is answered that has no answer: the low bits of the fourth byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nobody could be asked.
    ServerFailed = 2,
    /// There is no such name.
    NoSuchName = 3,
    /// It is not said.
    Refused = 5,
}

/// Types of records, and the one class (RFC 1035, 3.2; RFC 3596).
pub const TYPE_A: u16 = 1;
pub const TYPE_PTR: u16 = 12;
pub const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// The one question of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// In lower case, without the dot at its end.
    pub name: String,
    /// The type of records that are wanted.
    pub kind: u16,
    /// Where it ends in the message.
    end: usize,
}

/// One record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose it is, in lower case.
    pub name: String,
    /// How long it holds, seconds.
    pub ttl: u32,
    /// The address that it gives, if it gives one.
    pub address: Option<IpAddr>,
    /// Where its lifetime stands in the message.
    at: usize,
}

impl Question {
    /// That of a standard query which has one question, and no answer.
    pub fn asked(query: &[u8]) -> Option<Self> {
        let header = query.get(..HEADER_LEN)?;
        let is_query = header[2] & 0xf8 == 0 && header[6..8] == [0, 0];
        is_query.then(|| Self::read(query)).flatten()
    }

    fn read(message: &[u8]) -> Option<Self> {
        let counts = message.get(4..6)?;
        let (name, at) = parse_name(message, HEADER_LEN)?;
        let tail = message.get(at..at + QUESTION_TAIL)?;
        let class = u16::from_be_bytes([tail[2], tail[3]]);
        (counts == [0, 1] && class == CLASS_IN).then_some(Self {
            name,
            kind: u16::from_be_bytes([tail[0], tail[1]]),
            end: at + QUESTION_TAIL,
        })
    }

    /// The same question, and nothing else that `query` may say beside it.
    pub fn alone(&self, query: &[u8]) -> Vec<u8> {
        let mut message = query[..self.end].to_vec();
        message[2] &= WANTED;
        message[3] = 0;
        message[6..HEADER_LEN].fill(0);
        message
    }

    /// That there is no answer, and why, to who sent `query`; of an answer it keeps the question.
    pub fn fail(&self, query: &[u8], why: Failure) -> Vec<u8> {
        let mut message = self.alone(query);
        message[2] |= RESPONSE;
        message[3] = AVAILABLE | why as u8;
        message
    }

    /// An answer with the addresses, all of the question's type, which hold for `ttl` seconds.
    pub fn answer<'a>(
        &self,
        query: &[u8],
        addresses: impl Iterator<Item = &'a IpAddr>,
        ttl: u32,
    ) -> Vec<u8> {
        let contents = addresses.map(|address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        });
        self.records(query, contents, ttl)
    }

    /// The same of names that are ours to give; with no address the name has none of the type, and nobody else is asked.
    pub fn answer_own<'a>(
        &self,
        query: &[u8],
        addresses: impl Iterator<Item = &'a IpAddr>,
        ttl: u32,
    ) -> Vec<u8> {
        let mut message = self.answer(query, addresses, ttl);
        message[2] |= AUTHORITATIVE;
        message
    }

    /// An answer with the name of an address that is ours to give.
    pub fn answer_name(&self, query: &[u8], name: &str, ttl: u32) -> Vec<u8> {
        let labels = name.split('.').flat_map(|label| {
            let len = u8::try_from(label.len()).unwrap_or(0);
            let whole = &label.as_bytes()[..len.into()];
            [&[len], whole].concat()
        });
        let content = labels.chain([0]).collect();
        let mut message = self.records(query, [content].into_iter(), ttl);
        message[2] |= AUTHORITATIVE;
        message
    }

    /// An answer with one record for each of `contents`.
    fn records(&self, query: &[u8], contents: impl Iterator<Item = Vec<u8>>, ttl: u32) -> Vec<u8> {
        /// A record's name: the question's, by its offset (RFC 1035, 4.1.4).
        const NAME: [u8; 2] = [0xc0, 12];
        let mut message = self.alone(query);
        message[2] |= RESPONSE;
        message[3] = AVAILABLE;
        let mut count = 0u16;
        for content in contents {
            message.extend(NAME);
            message.extend(self.kind.to_be_bytes());
            message.extend(CLASS_IN.to_be_bytes());
            message.extend(ttl.to_be_bytes());
            message.extend(u16::try_from(content.len()).unwrap_or(0).to_be_bytes());
            message.extend(content);
            count += 1;
        }
        message[6..8].copy_from_slice(&count.to_be_bytes());
        message
    }
}

/// The address of which `name` is the reverse (RFC 1035, 3.5; RFC 3596, 2.5).
pub fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut numbers: Vec<&str> = digits.split('.').collect();
        numbers.reverse();
        let address: Ipv4Addr = numbers.join(".").parse().ok()?;
        return Some(address.into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?.split('.');
    let digits: Option<Vec<_>> = digits
        .map(|digit| {
            u128::from_str_radix(digit, 16)
                .ok()
                .filter(|_| digit.len() == 1)
        })
        .collect();
    let digits = digits.filter(|digits| digits.len() == 32)?;
    let address = digits
        .iter()
        .rev()
        .fold(0, |address, digit| address << 4 | digit);
    Some(Ipv6Addr::from(address).into())
}

/// The question of a response, and the records of its answer; `None` where they do not stand as they should.
pub fn parse_response(message: &[u8]) -> Option<(Question, Vec<Record>)> {
    let header = message.get(..HEADER_LEN)?;
    if header[2] & RESPONSE == 0 {
        return None;
    }
    let count = u16::from_be_bytes([header[6], header[7]]);
    let question = Question::read(message)?;
    let mut records = Vec::new();
    let mut at = question.end;
    for _ in 0..count {
        let (record, end) = parse_record(message, at)?;
        records.push(record);
        at = end;
    }
    Some((question, records))
}

/// Has no record of a response hold for longer than `most` seconds.
pub fn shorten(message: &mut [u8], records: &[Record], most: u32) {
    for record in records {
        if let Some(ttl) = message.get_mut(record.at..record.at + 4) {
            ttl.copy_from_slice(&record.ttl.min(most).to_be_bytes());
        }
    }
}

/// The record at `at`, and where it ends.
fn parse_record(message: &[u8], at: usize) -> Option<(Record, usize)> {
    let (name, at) = parse_name(message, at)?;
    let head = message.get(at..at + RECORD_HEAD)?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let start = at + RECORD_HEAD;
    let data = message.get(start..start + usize::from(word(8)))?;
    let address = match (word(0), word(2)) {
        (TYPE_A, CLASS_IN) => Some(<[u8; 4]>::try_from(data).ok()?.into()),
        (TYPE_AAAA, CLASS_IN) => Some(<[u8; 16]>::try_from(data).ok()?.into()),
        _ => None,
    };
    let record = Record {
        name,
        ttl: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        address,
        at: at + 4,
    };
    Some((record, start + data.len()))
}

/// The name at `at`, in lower case, and where it ends there. One that goes on elsewhere does so before (RFC 1035,
/// 4.1.4), and so it has an end. Bytes that are no characters of names are told apart from all of those.
fn parse_name(message: &[u8], at: usize) -> Option<(String, usize)> {
    /// Longest name (RFC 1035, 2.3.4).
    const MOST: usize = 255;
    let mut name = String::new();
    let (mut next, mut end, mut first) = (at, None, at);
    loop {
        let len = usize::from(*message.get(next)?);
        next += 1;
        match len {
            0 => return Some((name, end.unwrap_or(next))),
            1..64 => {}
            0xc0.. => {
                let low = usize::from(*message.get(next)?);
                let target = (len & 0x3f) << 8 | low;
                end = end.or(Some(next + 1));
                (target < first).then_some(())?;
                (next, first) = (target, target);
                continue;
            }
            _ => return None,
        }
        let label = message.get(next..next + len)?;
        if !name.is_empty() {
            name.push('.');
        }
        let shown = label.iter().map(|byte| match byte {
            // A dot in a label is not one between labels.
            b'.' | b'\\' => '\u{fffd}',
            0x21..0x7f => char::from(byte.to_ascii_lowercase()),
            _ => '\u{fffd}',
        });
        name.extend(shown);
        // A byte and the dot before it, or the length.
        if name.chars().count() > MOST {
            return None;
        }
        next += len;
    }
}

#[cfg(test)]
pub mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn write_name(message: &mut Vec<u8>, name: &str) {
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.push(0);
    }

    /// A query with `id` 0x1234 for `name`.
    pub fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        write_name(&mut message, name);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        // EDNS, as resolvers of today add it.
        message.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
        message
    }

    /// What `query` is answered: that its name is called `alias` there, which has the addresses.
    pub fn response(query: &[u8], alias: &str, addresses: &[IpAddr], ttl: u32) -> Vec<u8> {
        let question = Question::asked(query).unwrap();
        let mut message = question.alone(query);
        message[2] |= RESPONSE;
        let count = u8::try_from(addresses.len() + 1).unwrap();
        message[7] = count;
        message.extend([0xc0, 12, 0, 5, 0, 1]);
        message.extend(ttl.to_be_bytes());
        message.extend([0, u8::try_from(alias.len() + 2).unwrap()]);
        let at = message.len();
        write_name(&mut message, alias);
        for address in addresses {
            let octets = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let kind = if address.is_ipv4() { TYPE_A } else { TYPE_AAAA };
            message.extend([0xc0, u8::try_from(at).unwrap()]);
            message.extend(kind.to_be_bytes());
            message.extend(CLASS_IN.to_be_bytes());
            message.extend(ttl.to_be_bytes());
            message.extend([0, u8::try_from(octets.len()).unwrap()]);
            message.extend(octets);
        }
        message
    }

    #[test]
    fn records_are_found_behind_their_aliases() {
        let query = query("Www.Example", TYPE_A);
        let addresses = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let mut message = response(&query, "cdn.example", &addresses, 7200);
        let (question, records) = parse_response(&message).unwrap();
        assert_eq!(
            (question.name.as_str(), question.kind),
            ("www.example", TYPE_A)
        );
        let shown: Vec<_> = records
            .iter()
            .map(|record| (record.name.as_str(), record.address, record.ttl))
            .collect();
        assert_eq!(
            shown,
            [
                ("www.example", None, 7200),
                ("cdn.example", Some(addresses[0]), 7200),
                ("cdn.example", Some(addresses[1]), 7200),
            ]
        );
        shorten(&mut message, &records, 60);
        let (_, records) = parse_response(&message).unwrap();
        assert!(records.iter().all(|record| record.ttl == 60));
        assert_eq!(message[2], RESPONSE | WANTED);
        for len in 0..message.len() {
            assert_eq!(parse_response(&message[..len]), None, "{len}");
        }
    }

    #[test]
    fn names_that_go_round_have_no_end_and_are_none() {
        let mut message = response(&query("a", TYPE_A), "b", &[[192, 0, 2, 1].into()], 1);
        // The first record's name, which is the question's, points to itself.
        let at = message.iter().position(|byte| *byte == 0xc0).unwrap();
        message[at + 1] = u8::try_from(at).unwrap();
        assert_eq!(parse_response(&message), None);
        message[at + 1] = 0xff;
        assert_eq!(parse_response(&message), None);
    }

    #[test]
    fn a_label_is_not_taken_for_two() {
        let mut message = query("a-example.com", TYPE_A);
        message[14] = b'.';
        let question = Question::asked(&message).unwrap();
        assert_eq!(question.name, "a\u{fffd}example.com");
    }

    #[test]
    fn addresses_are_read_backwards() {
        for (name, address) in [
            ("2.128.117.10.in-addr.arpa", Some("10.117.128.2")),
            ("128.117.10.in-addr.arpa", None),
            ("x.128.117.10.in-addr.arpa", None),
            ("1.0.ip6.arpa", None),
            ("example.com", None),
        ] {
            let expected = address.map(|address| address.parse::<IpAddr>().unwrap());
            assert_eq!(reversed(name), expected, "{name}");
        }
        let name = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(reversed(name), Some("fd00:1::2".parse().unwrap()));
    }

    #[test]
    fn a_question_is_passed_on_without_what_is_beside_it() {
        let mut asked = query("a.example", TYPE_A);
        asked[3] = 0x30;
        let question = Question::asked(&asked).unwrap();
        let alone = question.alone(&asked);
        assert_eq!(alone[..12], [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(alone[12..], asked[12..asked.len() - 11]);
        let failed = question.fail(&asked, Failure::NoSuchName);
        assert_eq!(failed[..4], [0x12, 0x34, 0x81, 0x83]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..200)) {
            let _none = Question::asked(&bytes);
            let _none = parse_response(&bytes);
            // As a response with one question.
            let mut bytes = bytes;
            if bytes.len() > 12 {
                bytes[2] = RESPONSE;
                bytes[4..8].copy_from_slice(&[0, 1, 0, 9]);
                if let Some((question, records)) = parse_response(&bytes) {
                    shorten(&mut bytes, &records, 1);
                    prop_assert!(question.name.chars().count() <= 255);
                }
            }
        }
    }
}
