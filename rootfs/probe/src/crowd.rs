//! Many connections at one time, with a byte each way over each of them; `--crowd`, which the usage does not name, is for
//! tests of the network behind a wall.
//!
//! ```text
//!  --crowd to ADDRESS:PORT COUNT    connects so often, then speaks over all, then hears from all
//!  --crowd at PORT COUNT            lets so many in, says so when all have spoken, and answers all at the end of its stdin
//! ```
//!
//! What is answered is what was said, and one more. All are open at once, for as long as whoever tests wants to look.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::sys::lengthen_queue;

/// How long somebody may be silent.
const PATIENCE: Duration = Duration::from_secs(200);

/// As many wait to be let in as Linux allows (net.core.somaxconn).
const MOST_KNOCKING: i32 = 4096;

/// Carries out the words behind `--crowd`, and says how many were there.
pub fn run(words: impl Iterator<Item = OsString>) -> io::Result<()> {
    let words: Vec<_> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let [way, place, count] = &words[..] else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let count = number(count)?;
    let mut out = io::stdout();
    match &**way {
        "to" => {
            let to = place.parse().map_err(io::Error::other)?;
            let (answered, refused) = meet(to, count)?;
            writeln!(out, "{answered} answered, {refused} refused")
        }
        "at" => {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, number(place)?))?;
            lengthen_queue(&listener, MOST_KNOCKING)?;
            writeln!(out, "{}", listener.local_addr()?.port())?;
            answer(&listener, count, || {
                writeln!(out, "{count} came")?;
                io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
            })
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn number<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    word: &str,
) -> io::Result<T> {
    word.parse().map_err(io::Error::other)
}

/// Connects `count` times; how many connections answered, and how many were refused.
fn meet(to: SocketAddr, count: usize) -> io::Result<(usize, usize)> {
    let mut open = Vec::with_capacity(count);
    let mut refused = 0;
    for _ in 0..count {
        match TcpStream::connect(to) {
            Ok(stream) => open.push(patient(stream)?),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => refused += 1,
            Err(error) => return Err(error),
        }
    }
    for (said, stream) in bytes().zip(&mut open) {
        stream.write_all(&[said])?;
    }
    for (said, stream) in bytes().zip(&mut open) {
        let mut heard = [0];
        stream.read_exact(&mut heard)?;
        if heard[0] != said.wrapping_add(1) {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok((open.len(), refused))
}

/// Gives up instead of waiting for ever.
fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What is said over one connection after the other.
fn bytes() -> impl Iterator<Item = u8> {
    (0..=u8::MAX).cycle()
}

/// Lets `count` in, and answers all of them once each has spoken and `wait` is over.
fn answer(
    listener: &TcpListener,
    count: usize,
    wait: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        open.push(patient(listener.accept()?.0)?);
    }
    let mut heard = vec![0; count];
    for (stream, heard) in open.iter_mut().zip(&mut heard) {
        stream.read_exact(std::slice::from_mut(heard))?;
    }
    wait()?;
    for (stream, heard) in open.iter_mut().zip(&heard) {
        stream.write_all(&[heard.wrapping_add(1)])?;
    }
    // Who ends a container ends its network, and with that what is still on its way.
    for stream in &mut open {
        let _end = stream.read(&mut [0]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_of_a_crowd_are_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| answer(&listener, 300, || Ok(())).unwrap());
            assert_eq!(meet(at, 300).unwrap(), (300, 0));
        });
        drop(listener);
        assert_eq!(meet(at, 3).unwrap(), (0, 3));
    }

    #[test]
    fn words_that_make_no_sense_are_an_error() {
        for words in [&["to", "x", "1"][..], &["at", "80"], &["in", "80", "1"]] {
            assert!(run(words.iter().map(OsString::from)).is_err(), "{words:?}");
        }
    }
}
