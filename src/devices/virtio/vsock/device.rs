//! The socket device: packets out of one queue, packets into another.

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use husk_init::frame::{GUEST_CID, HOST_CID};

use super::connection::Notice;
use super::connections::{Connections, Key, Next, data_packet};
use super::inbox::Inbox;
use super::packet::{HEADER_LEN, Header, MOST_DATA, RECEIVE, TRANSMIT, TYPE_STREAM, op};
use crate::devices::virtio::chain::{Chain, broken};
use crate::devices::virtio::device::{Active, Device, Kind};

/// Receive, transmit, events (5.10.2). The driver fills the first before it says a word: a page of
/// the guest's memory for each of its buffers.
const QUEUES: [u16; 3] = [16, 256, 16];

/// Gives the host's end of a connection that the guest asked for.
pub trait Connector: Send {
    /// A socket for `port`, or an error when nobody serves it.
    fn connect(&self, port: u32) -> io::Result<UnixStream>;
}

/// The socket device.
pub struct Vsock {
    connector: Box<dyn Connector>,
    connections: Connections,
    active: Option<Active>,
    /// Where there is a driver: its buffers.
    inbox: Option<Inbox>,
    /// The packet that is on its way to the host.
    buffer: Vec<u8>,
}

impl Vsock {
    /// A device whose connections `connector` answers.
    pub fn new(connector: Box<dyn Connector>) -> io::Result<Self> {
        let connections = Connections::new()?;
        let buffer = vec![0; HEADER_LEN + MOST_DATA];
        Ok(Self {
            connector,
            connections,
            active: None,
            inbox: None,
            buffer,
        })
    }

    /// Takes every packet of the guest.
    fn transmit(&mut self) -> io::Result<()> {
        loop {
            while let Some(chain) = self.pop(TRANSMIT)? {
                let (header, len) = self.parse(&chain)?;
                let buffer = mem::take(&mut self.buffer);
                self.take(&header, &buffer[HEADER_LEN..HEADER_LEN + len]);
                self.buffer = buffer;
                self.give_back(TRANSMIT, chain.head, 0)?;
            }
            if !self.rearm(TRANSMIT)? {
                return self.interrupt(TRANSMIT);
            }
        }
    }

    /// The header of a packet and the length of its data, which is in the buffer behind it; what claims more data than
    /// it has is broken.
    fn parse(&mut self, chain: &Chain) -> io::Result<(Header, usize)> {
        let Some(active) = &self.active else {
            return Err(broken("no driver"));
        };
        let mut bytes = [0; HEADER_LEN];
        chain.read(&active.mem, &mut bytes)?;
        let header = Header::decode(&bytes);
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        if len > MOST_DATA {
            return Err(broken("a packet of more than 64 KiB"));
        }
        chain.read(&active.mem, &mut self.buffer[..HEADER_LEN + len])?;
        Ok((header, len))
    }

    /// One packet. What makes no sense is answered by RST (5.10.6.4).
    fn take(&mut self, header: &Header, data: &[u8]) {
        let key = Key {
            guest: header.src_port,
            host: header.dst_port,
        };
        let ours = header.src_cid == u64::from(GUEST_CID) && header.dst_cid == u64::from(HOST_CID);
        if !ours || header.kind != TYPE_STREAM {
            return self.connections.reset(key);
        }
        if header.op == op::RST {
            return self.connections.forget(key);
        }
        if header.op == op::REQUEST {
            if self.connect(key, header).is_err() {
                self.connections.reset(key);
            }
            return;
        }
        let Some(connection) = self.connections.get(key) else {
            return self.connections.reset(key);
        };
        connection.take_credit(header);
        match header.op {
            op::RW if connection.deliver(data).is_err() => return self.connections.reset(key),
            op::RW | op::CREDIT_UPDATE => {}
            op::CREDIT_REQUEST => connection.note(Notice::Credit),
            op::SHUTDOWN => connection.close_by_guest(header.flags),
            _ => return self.connections.reset(key),
        }
        self.connections.settle(key);
    }

    /// Asks the host for the other end of a stream, unless it would be refused anyway.
    fn connect(&mut self, key: Key, request: &Header) -> io::Result<()> {
        self.connections.admit(key)?;
        let socket = self.connector.connect(key.host)?;
        self.connections.add(key, socket, request)
    }

    /// Sends what there is, as far as the driver gave buffers: until it does, sockets wait.
    fn receive(&mut self) -> io::Result<()> {
        let (Some(active), Some(inbox)) = (&mut self.active, &mut self.inbox) else {
            return Ok(());
        };
        let connections = &mut self.connections;
        loop {
            while inbox.has_room(active)? {
                match connections.next() {
                    Some(Next::Word(header)) => inbox.deliver(active, 0, |_| header)?,
                    Some(Next::Bytes(key)) => fetch(connections, key, inbox, active)?,
                    None => {
                        inbox.interrupt(active);
                        return Ok(());
                    }
                }
            }
            if !active.rearm(RECEIVE)? {
                inbox.interrupt(active);
                return Ok(());
            }
        }
    }

    fn pop(&mut self, queue: usize) -> io::Result<Option<Chain>> {
        self.active
            .as_mut()
            .map_or(Ok(None), |active| active.pop(queue))
    }

    fn give_back(&mut self, queue: usize, head: u16, len: usize) -> io::Result<()> {
        self.active
            .as_mut()
            .map_or(Ok(()), |active| active.give_back(queue, head, len))
    }

    fn interrupt(&mut self, queue: usize) -> io::Result<()> {
        self.active
            .as_mut()
            .map_or(Ok(()), |active| active.interrupt(queue))
    }

    fn rearm(&mut self, queue: usize) -> io::Result<bool> {
        self.active
            .as_mut()
            .map_or(Ok(false), |active| active.rearm(queue))
    }
}

/// Fills the driver's buffers with what a stream's socket has, by one read, as far as the guest's credit goes.
fn fetch(
    connections: &mut Connections,
    key: Key,
    inbox: &mut Inbox,
    active: &mut Active,
) -> io::Result<()> {
    let Some(stream) = connections.get(key) else {
        return Ok(());
    };
    let credit = usize::try_from(stream.credit()).unwrap_or(usize::MAX);
    let asked = inbox.lay_out(active, credit)?;
    if let Some(len) = stream.fetch(inbox.places(), asked) {
        inbox.deliver(active, len, |len| data_packet(stream, key, len))?;
    }
    connections.settle(key);
    Ok(())
}

impl Device for Vsock {
    fn kind(&self) -> Kind {
        Kind::Vsock
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES
    }

    /// `struct virtio_vsock_config` (5.10.4): guest_cid u64.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let config = u64::from(GUEST_CID).to_le_bytes();
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(config.len());
        for (byte, value) in data.iter_mut().zip(&config[from..]) {
            *byte = *value;
        }
    }

    fn activate(&mut self, active: Active, _features: u64) -> io::Result<()> {
        self.inbox = Some(Inbox::new(Arc::clone(&active.mem)));
        self.active = Some(active);
        Ok(())
    }

    fn stop(&mut self) -> Option<Active> {
        self.connections.clear();
        let (inbox, active) = (self.inbox.take(), &mut self.active);
        if let (Some(mut inbox), Some(active)) = (inbox, active) {
            inbox.put_back(active);
        }
        self.active.take()
    }

    fn notify(&mut self, queue: u16) -> io::Result<()> {
        if usize::from(queue) == TRANSMIT {
            self.transmit()?;
        }
        self.receive()
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.connections.source())
    }

    fn poll(&mut self) -> io::Result<()> {
        self.connections.poll()?;
        self.receive()
    }
}

impl fmt::Debug for Vsock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vsock")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}
