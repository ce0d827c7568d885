//! Echo requests: the guest's identifier here, one of the host's there.

use std::io;
use std::net::IpAddr;

use super::host::{self, Echo};
use super::udp::{Heard, UdpFlow};
use super::wire::{ICMP_LEN, IPV4_LEN, checksum, icmp_type};

/// Echo requests of one identifier to one address.
#[derive(Debug)]
pub struct EchoFlow {
    /// The way there.
    pub socket: UdpFlow,
    /// The identifier there, where it is of our choosing: then what comes is everybody's.
    raw: Option<[u8; 2]>,
}

impl EchoFlow {
    /// To `peer`; `identifier` is ours where the kernel does not choose one.
    pub fn new(peer: IpAddr, identifier: [u8; 2]) -> io::Result<Self> {
        let (socket, raw) = match host::connect_echo(peer)? {
            Echo::Plain(socket) => (socket, None),
            Echo::Raw(socket) => (socket, Some(identifier)),
        };
        Ok(Self {
            socket: UdpFlow::new(socket),
            raw,
        })
    }

    /// Sends a request: its type, its sequence number and its data.
    pub fn take(&mut self, kind: u8, sequence: [u8; 2], payload: &[u8]) {
        let [high, low] = self.raw.unwrap_or_default();
        let mut message = vec![kind, 0, 0, 0, high, low];
        message.extend(sequence);
        message.extend(payload);
        // The kernel sums what is ICMPv6, and what it chose the identifier of.
        let sum = checksum(0, &message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        self.socket.take(&message);
    }

    /// The next reply: its sequence number and its data.
    pub fn next<'b>(&mut self, scratch: &'b mut [u8]) -> io::Result<Option<Reply<'b>>> {
        loop {
            let len = match self.socket.next(scratch) {
                Heard::Datagram(message) => message.len(),
                Heard::Nothing => return Ok(None),
                Heard::Refused(error) => return Err(error),
            };
            let start = match (self.raw, scratch.first()) {
                // A raw socket of IPv4 gives the header, too.
                (Some(_), Some(first)) if first >> 4 == 4 => IPV4_LEN,
                _ => 0,
            };
            if let Some(sequence) = self.find(scratch.get(start..len)) {
                let payload = &scratch[start + ICMP_LEN..len];
                return Ok(Some(Reply { sequence, payload }));
            }
        }
    }

    /// The sequence number of a reply to us.
    fn find(&self, message: Option<&[u8]>) -> Option<[u8; 2]> {
        let header = message?.first_chunk::<ICMP_LEN>()?;
        let is_reply = matches!(header[0], icmp_type::ECHO_REPLY | icmp_type::V6_ECHO_REPLY);
        let is_ours = self.raw.is_none_or(|identifier| identifier == header[4..6]);
        (is_reply && is_ours).then_some([header[6], header[7]])
    }
}

/// A reply.
#[derive(Debug)]
pub struct Reply<'b> {
    /// The number of the request.
    pub sequence: [u8; 2],
    /// Its data.
    pub payload: &'b [u8],
}
