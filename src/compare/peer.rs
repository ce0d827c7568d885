//! Who the probe speaks to outside of a wall: a server at this host's own address, which every wall's network leads
//! to. `rootfs/probe/src/suites/net.rs` says what it serves.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::net::{Shutdown, shutdown};

/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;

/// A server, until it is dropped.
#[derive(Debug)]
pub struct Peer {
    listener: TcpListener,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// One at this host's address; `None` where it has none but its loopback, which no wall's network leads to.
    pub fn serve() -> io::Result<Option<Self>> {
        let Some(own) = own_address() else {
            return Ok(None);
        };
        let listener = TcpListener::bind((own, 0))?;
        let (address, accepting) = (listener.local_addr()?, listener.try_clone()?);
        let thread = thread::Builder::new().name("peer".to_owned());
        let thread = thread.spawn(move || accept(&accepting, own))?;
        Ok(Some(Self {
            listener,
            address,
            thread: Some(thread),
        }))
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Whoever waits for a connection gets an error instead.
        if shutdown(&self.listener, Shutdown::Both).is_ok() {
            let _panicked = self.thread.take().map(JoinHandle::join);
        }
    }
}

/// What a packet to somewhere would have as its source; none is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address of examples (RFC 5737).
    socket.connect("203.0.113.1:9").ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback()).then_some(own)
}

/// Serves each connection of this host's own on a thread: everybody else is none of the comparison's.
fn accept(listener: &TcpListener, own: IpAddr) {
    while let Ok((stream, from)) = listener.accept() {
        if from.ip() == own {
            let thread = thread::Builder::new().name("peer".to_owned());
            // Who is not served sees the end of the connection.
            let _refused = thread.spawn(move || serve(stream));
        }
    }
}

/// Serves one until it ends.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match kind[0] {
            b'E' => {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                stream.write_all(&byte)?;
            }
            b'T' => {
                for _ in 0..number(&mut stream)? {
                    stream.read_exact(&mut chunk)?;
                }
                stream.write_all(&[0])?;
            }
            b'G' => {
                for _ in 0..number(&mut stream)? {
                    stream.write_all(&chunk)?;
                }
            }
            // No port is kept for a connection that was reset.
            _ => return Ok(set_socket_linger(&stream, Some(Duration::ZERO))?),
        }
    }
}

fn number(stream: &mut TcpStream) -> io::Result<u64> {
    let mut bytes = [0; size_of::<u64>()];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_connection_is_served_and_nobody_when_it_is_gone() {
        let Some(peer) = Peer::serve().unwrap() else {
            eprintln!("not run: this host has no address but its loopback");
            return;
        };
        let connect = |kind: &[u8]| {
            let mut stream = TcpStream::connect(peer.address()).unwrap();
            stream.write_all(kind).unwrap();
            stream
        };
        let two = 2u64.to_le_bytes();
        let (mut byte, mut chunk) = ([0], vec![0; CHUNK]);
        let mut echo = connect(b"Ea");
        echo.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"a");
        let mut sink = connect(b"T");
        for _ in 0..2 {
            sink.write_all(&two).unwrap();
            sink.write_all(&vec![1; 2 * CHUNK]).unwrap();
            sink.read_exact(&mut byte).unwrap();
        }
        let mut source = connect(b"G");
        source.write_all(&two).unwrap();
        source.read_exact(&mut chunk).unwrap();
        source.read_exact(&mut chunk).unwrap();
        let reset = connect(b"Q").read(&mut byte).unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
        let address = peer.address();
        drop(peer);
        assert!(TcpStream::connect(address).is_err());
    }
}
