//! Echo requests: the guest's identifier here, one of the kernel's choosing there.

use super::udp::{Heard, UdpFlow};
use super::wire::ICMP_LEN;

/// Echo requests of one identifier to one address.
#[derive(Debug)]
pub struct EchoFlow(pub UdpFlow);

impl EchoFlow {
    /// Sends a request: its type, its sequence number and its data. The kernel fills in identifier and
    /// checksum.
    pub fn take(&mut self, kind: u8, sequence: [u8; 2], payload: &[u8]) {
        let mut message = vec![kind, 0, 0, 0, 0, 0];
        message.extend(sequence);
        message.extend(payload);
        self.0.take(&message);
    }

    /// The next reply: its sequence number and its data.
    pub fn next<'b>(
        &mut self,
        scratch: &'b mut [u8],
    ) -> Result<Option<([u8; 2], &'b [u8])>, std::io::Error> {
        match self.0.next(scratch) {
            Heard::Datagram(message) => Ok(message
                .split_at_checked(ICMP_LEN)
                .map(|(header, payload)| ([header[6], header[7]], payload))),
            Heard::Nothing => Ok(None),
            Heard::Refused(error) => Err(error),
        }
    }
}
