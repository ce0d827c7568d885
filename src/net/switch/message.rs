//! What is said between a switch and its members: words as JSON, and packets as they are.
//!
//! ```text
//! 0 │ JSON of a Word
//! 1 │ is its checksum unfinished? u8 │ start u16 │ offset u16 │ an IP packet      little-endian; start from the
//!                                                                                  beginning of the Ethernet frame
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::net::link::{ETHERNET_LEN, MTU, Unsummed};
use crate::net::wire::{Ends, ends};

/// Bytes before a packet.
pub const HEADER_LEN: usize = 6;

/// Most bytes of a message.
pub const LONGEST: usize = HEADER_LEN + MTU as usize;

/// Most bytes of a word.
const LONGEST_WORD: usize = 32 << 10;

const WORD: u8 = 0;
const PACKET: u8 = 1;

/// Who wants to be on the network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Join {
    /// Its machine's ID.
    pub id: String,
    /// Its machine's name.
    pub name: String,
    /// By what else it is found.
    pub aliases: Vec<String>,
    /// The address that it wants.
    pub ip: Option<Ipv4Addr>,
}

/// Who is on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its machine's ID.
    pub id: String,
    /// Its machine's name.
    pub name: String,
    /// By what it is found, in lower case; its name is the first.
    pub names: Vec<String>,
    /// Its address.
    pub v4: Ipv4Addr,
    /// The same in IPv6.
    pub v6: Ipv6Addr,
}

impl Member {
    /// Whether `address` is its own.
    pub fn has(&self, address: IpAddr) -> bool {
        address == self.v4 || address == self.v6
    }
}

/// What is no packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// To the switch: have me on the network.
    Join(Join),
    /// To the switch: say who is there.
    List,
    /// To the switch: from now on a member is called otherwise. Not a word of members.
    Rename {
        /// Its machine's ID.
        id: String,
        /// Its machine's new name.
        name: String,
    },
    /// You are on it, with these addresses.
    Seated {
        /// In IPv4.
        v4: Ipv4Addr,
        /// In IPv6.
        v6: Ipv6Addr,
    },
    /// You are not.
    Refused {
        /// Why, as the rest of a sentence.
        why: String,
    },
    /// This one is there.
    Came(Member),
    /// That one is gone.
    Left {
        /// Its address.
        v4: Ipv4Addr,
    },
    /// Those were all; or it is done.
    All,
}

/// A message that was understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'m> {
    /// A word.
    Word(Word),
    /// A packet.
    Packet(Datagram<'m>),
}

/// A packet on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'m> {
    /// Which checksum of it is not finished, in the frame that it came in.
    pub unsummed: Option<Unsummed>,
    /// From whom to whom.
    pub ends: Ends<'m>,
}

impl Word {
    /// As a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut message = vec![WORD];
        // Nothing in a word is without a form in JSON.
        message.extend(serde_json::to_vec(self).unwrap_or_default());
        message
    }
}

/// What `message` says; `None` where it is nothing that anybody says.
pub fn decode(message: &[u8]) -> Option<Message<'_>> {
    match message.split_first()? {
        (&WORD, text) if text.len() <= LONGEST_WORD => {
            serde_json::from_slice(text).ok().map(Message::Word)
        }
        (&PACKET, _) => {
            let (header, packet) = message.split_at_checked(HEADER_LEN)?;
            let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
            let unsummed = match header[1] {
                0 => None,
                _ => Some(Unsummed {
                    start: word(2),
                    offset: word(4),
                }),
            };
            if let Some(Unsummed { start, offset }) = unsummed {
                let field = usize::from(start) + usize::from(offset);
                let fits =
                    usize::from(start) >= ETHERNET_LEN && field + 2 <= ETHERNET_LEN + packet.len();
                fits.then_some(())?;
            }
            let ends = ends(packet).filter(|ends| ends.whole.len() == packet.len())?;
            Some(Message::Packet(Datagram { unsummed, ends }))
        }
        _ => None,
    }
}

/// Writes a packet as a message.
pub fn encode(message: &mut Vec<u8>, packet: &[u8], unsummed: Option<Unsummed>) {
    let Unsummed { start, offset } = unsummed.unwrap_or(Unsummed {
        start: 0,
        offset: 0,
    });
    message.clear();
    message.extend([PACKET, u8::from(unsummed.is_some())]);
    message.extend(start.to_le_bytes());
    message.extend(offset.to_le_bytes());
    message.extend(packet);
}
