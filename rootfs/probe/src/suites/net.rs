//! TCP over loopback: the network stack without a network.

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

/// | probe | one operation |
/// |---|---|
/// | latency | a byte there and back |
/// | throughput | 64 KiB to the other end, taken there |
pub fn run(budget: Duration, take: &mut impl FnMut(&str, io::Result<Figure>)) {
    take("latency", latency(budget).map(Figure::time));
    let throughput = throughput(budget);
    take(
        "throughput",
        throughput.map(|took| Figure::throughput(CHUNK, took)),
    );
}

fn latency(budget: Duration) -> io::Result<f64> {
    let (mut near, mut far) = connect()?;
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, move || {
            let mut byte = [0];
            // Ends when the near end hangs up.
            while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
        })?;
        let mut byte = [0];
        let took = measure(Pace::free(budget), |count| {
            let begun = Instant::now();
            for _ in 0..count {
                near.write_all(&byte)?;
                near.read_exact(&mut byte)?;
            }
            Ok(begun.elapsed())
        });
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
        let chunk = vec![0x5a; CHUNK as usize];
        let took = measure(Pace::free(budget), |count| {
            let begun = Instant::now();
            near.write_all(&count.to_le_bytes())?;
            for _ in 0..count {
                near.write_all(&chunk)?;
            }
            // What lies in a socket's buffer has not arrived.
            near.read_exact(&mut [0])?;
            Ok(begun.elapsed())
        });
        drop(near);
        took
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
    let near = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
    let (far, _) = listener.accept()?;
    for end in [&near, &far] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(PATIENCE))?;
        end.set_write_timeout(Some(PATIENCE))?;
    }
    Ok((near, far))
}
