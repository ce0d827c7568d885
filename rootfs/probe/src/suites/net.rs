//! TCP over loopback: the network stack without a network; and to a peer outside of the wall, if there is one.
//!
//! The peer serves connections by their first byte (`husk compare` has one):
//!
//! ```text
//!  E  sends back each byte
//!  T  takes a number N (u64, little endian) and N times 64 KiB, sends a byte, and begins anew
//!  G  takes a number N, sends N times 64 KiB, and begins anew
//!  Q  resets the connection
//! ```

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::measure::{Pace, measure};
use crate::report::Figure;

/// Bytes that are written at once for `throughput`.
const CHUNK: u32 = 64 << 10;

/// Longest wait for the other end: a loopback that loses packets is an error, and not the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most connections of a batch: each is to be gone before there are too many.
const MOST_CONNECTIONS: u64 = 64;

/// | probe | one operation |
/// |---|---|
/// | latency | a byte there and back |
/// | throughput | 64 KiB to the other end, taken there |
/// | host.connect | a connection to the peer |
/// | host.latency | a byte to it and back |
/// | host.send | 64 KiB to it, taken there |
/// | host.receive | 64 KiB from it |
pub fn run(
    budget: Duration,
    peer: Option<SocketAddr>,
    take: &mut impl FnMut(&str, io::Result<Figure>),
) {
    take("latency", latency(budget).map(Figure::time));
    take("throughput", throughput(budget).map(chunks));
    let Some(peer) = peer else { return };
    take("host.connect", set_up(budget, peer).map(Figure::time));
    let outside = |kind| begin(peer, kind);
    let latency = outside(b'E').and_then(|mut near| ping(budget, &mut near));
    take("host.latency", latency.map(Figure::time));
    let sent = outside(b'T').and_then(|mut near| push(budget, &mut near));
    take("host.send", sent.map(chunks));
    let received = outside(b'G').and_then(|mut near| pull(budget, &mut near));
    take("host.receive", received.map(chunks));
}

fn chunks(nanoseconds: f64) -> Figure {
    Figure::throughput(CHUNK, nanoseconds)
}

/// Connections to `peer`, one after the other; what ends them does not count.
fn set_up(budget: Duration, peer: SocketAddr) -> io::Result<f64> {
    let pace = Pace {
        budget,
        most: MOST_CONNECTIONS,
    };
    measure(pace, |count| {
        let mut took = Duration::ZERO;
        for _ in 0..count {
            let begun = Instant::now();
            let mut near = connect_to(peer)?;
            took += begun.elapsed();
            near.write_all(b"Q")?;
            // A reset is what was asked for: nothing stays behind on either side.
            let _reset = near.read(&mut [0]);
        }
        Ok(took)
    })
}

/// A connection to `peer` of that kind.
fn begin(peer: SocketAddr, kind: u8) -> io::Result<TcpStream> {
    let mut near = connect_to(peer)?;
    near.write_all(&[kind])?;
    Ok(near)
}

fn connect_to(peer: SocketAddr) -> io::Result<TcpStream> {
    patient(TcpStream::connect_timeout(&peer, PATIENCE)?)
}

fn latency(budget: Duration) -> io::Result<f64> {
    let (mut near, mut far) = connect()?;
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, move || {
            let mut byte = [0];
            // Ends when the near end hangs up.
            while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
        })?;
        let took = ping(budget, &mut near);
        // The other thread waits for it, and the scope for the thread.
        drop(near);
        took
    })
}

fn throughput(budget: Duration) -> io::Result<f64> {
    let (mut near, mut far) = connect()?;
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, move || {
            // Ends when the near end hangs up.
            while take_batch(&mut far).is_ok() {}
        })?;
        let took = push(budget, &mut near);
        drop(near);
        took
    })
}

/// A byte to an end that sends it back.
fn ping(budget: Duration, near: &mut TcpStream) -> io::Result<f64> {
    let mut byte = [0];
    measure(Pace::free(budget), |count| {
        let begun = Instant::now();
        for _ in 0..count {
            near.write_all(&byte)?;
            near.read_exact(&mut byte)?;
        }
        Ok(begun.elapsed())
    })
}

/// Chunks to an end that says when it has them.
fn push(budget: Duration, near: &mut TcpStream) -> io::Result<f64> {
    let chunk = vec![0x5a; CHUNK as usize];
    measure(Pace::free(budget), |count| {
        let begun = Instant::now();
        near.write_all(&count.to_le_bytes())?;
        for _ in 0..count {
            near.write_all(&chunk)?;
        }
        // What lies in a socket's buffer has not arrived.
        near.read_exact(&mut [0])?;
        Ok(begun.elapsed())
    })
}

/// Chunks from an end that sends as many as it is told.
fn pull(budget: Duration, near: &mut TcpStream) -> io::Result<f64> {
    let mut chunk = vec![0; CHUNK as usize];
    measure(Pace::free(budget), |count| {
        let begun = Instant::now();
        near.write_all(&count.to_le_bytes())?;
        for _ in 0..count {
            near.read_exact(&mut chunk)?;
        }
        Ok(begun.elapsed())
    })
}

/// Takes as many chunks as the other end says it sends, then says so.
fn take_batch(from: &mut TcpStream) -> io::Result<()> {
    let mut count = [0; size_of::<u64>()];
    from.read_exact(&mut count)?;
    let mut buffer = vec![0; CHUNK as usize];
    for _ in 0..u64::from_le_bytes(count) {
        from.read_exact(&mut buffer)?;
    }
    from.write_all(&[0])
}

/// Two ends of a connection.
fn connect() -> io::Result<(TcpStream, TcpStream)> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(any_port)?;
    // It waits in the listener's queue until it is accepted.
    let near = connect_to(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    Ok((near, patient(far)?))
}

/// The same end, which says at once what it has to say, and does not wait for ever.
fn patient(end: TcpStream) -> io::Result<TcpStream> {
    end.set_nodelay(true)?;
    end.set_read_timeout(Some(PATIENCE))?;
    end.set_write_timeout(Some(PATIENCE))?;
    Ok(end)
}
