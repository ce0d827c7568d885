//! Queries by TCP: messages with their lengths before them (RFC 1035, 4.2.2). Each is answered before the next is read: those
//! that a guest sends at once wait (RFC 7766, 6.2.1.1).
//!
//! ```text
//!  the guest ◀─ its connection ─▶ a pair of sockets ◀─▶ here ◀─ a connection for each question ─▶ the host's resolver
//!                                                              that nobody here can answer
//! ```

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

/// How long a resolver may take, and a guest for its next question.
const PATIENCE: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);

/// Bytes of a message's length.
const PREFIX: usize = 2;

/// What a stream has for who serves it.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// A query of the guest's.
    Query(Vec<u8>),
    /// What the resolver says to the last one.
    Answer(Vec<u8>),
    /// The resolver says nothing to it: the query, and how many were asked it.
    Lost(Vec<u8>, usize),
    /// Nothing, now.
    Nothing,
    /// Nothing, ever.
    Over,
}

/// A guest's connection for queries.
#[derive(Debug)]
pub struct NameStream {
    guest: Talk,
    question: Option<Question>,
    due: Instant,
    /// Counts them.
    _one: Arc<()>,
}

/// A query on its way to a resolver.
#[derive(Debug)]
struct Question {
    query: Vec<u8>,
    resolver: Talk,
    tried: usize,
}

/// A socket, what has come of a message, and what waits to go.
#[derive(Debug)]
struct Talk {
    socket: OwnedFd,
    coming: Vec<u8>,
    going: Vec<u8>,
}

impl NameStream {
    /// One, and the socket over which the guest's bytes come and go; `one` counts them.
    pub fn open(one: Arc<()>, now: Instant) -> io::Result<(OwnedFd, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (theirs, ours) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let stream = Self {
            guest: Talk::over(ours),
            question: None,
            due: now + SILENCE,
            _one: one,
        };
        Ok((theirs, stream))
    }

    /// Its own end, to be watched.
    pub fn socket(&self) -> &OwnedFd {
        &self.guest.socket
    }

    /// When it has waited for long enough.
    pub fn deadline(&self) -> Instant {
        self.due
    }

    /// What there is to do.
    pub fn next(&mut self, now: Instant) -> Told {
        match self.guest.flush() {
            Ok(true) => {}
            // Whoever does not listen is waited for as for who does not ask.
            Ok(false) if now < self.due => return Told::Nothing,
            _ => return Told::Over,
        }
        let Some(question) = &mut self.question else {
            return match self.guest.hear() {
                Ok(Some(query)) => Told::Query(query),
                Ok(None) if now < self.due => Told::Nothing,
                _ => Told::Over,
            };
        };
        let heard = question.resolver.flush().and_then(|is_said| match is_said {
            true => question.resolver.hear(),
            false => Ok(None),
        });
        match heard {
            Ok(None) if now < self.due => Told::Nothing,
            Ok(Some(answer)) => {
                self.question = None;
                Told::Answer(answer)
            }
            _ => match self.question.take() {
                Some(question) => Told::Lost(question.query, question.tried),
                None => Told::Over,
            },
        }
    }

    /// Asks a resolver over this socket, which connects; `tried` were asked the same before.
    pub fn pass_on(&mut self, query: Vec<u8>, socket: OwnedFd, tried: usize, now: Instant) {
        let mut resolver = Talk::over(socket);
        resolver.say(&query);
        self.question = Some(Question {
            query,
            resolver,
            tried: tried + 1,
        });
        self.due = now + PATIENCE;
    }

    /// Answers the last query.
    pub fn answer(&mut self, message: &[u8], now: Instant) {
        self.guest.say(message);
        self.due = now + SILENCE;
    }
}

impl Talk {
    fn over(socket: OwnedFd) -> Self {
        Self {
            socket,
            coming: Vec::new(),
            going: Vec::new(),
        }
    }

    /// What no length can be given to is not said.
    fn say(&mut self, message: &[u8]) {
        if let Ok(len) = u16::try_from(message.len()) {
            self.going.extend(len.to_be_bytes());
            self.going.extend(message);
        }
    }

    /// Sends what waits; whether that was all.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.going.is_empty() {
            match send(&self.socket, &self.going, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.going.drain(..count)),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }

    /// The next message, if it is there.
    fn hear(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let whole = match self.coming.first_chunk::<PREFIX>() {
                Some(prefix) => PREFIX + usize::from(u16::from_be_bytes(*prefix)),
                None => PREFIX,
            };
            let have = self.coming.len();
            if have >= PREFIX && have == whole {
                return Ok(Some(mem::take(&mut self.coming).split_off(PREFIX)));
            }
            self.coming.resize(whole, 0);
            let heard = recv(&self.socket, &mut self.coming[have..], RecvFlags::empty());
            let count = heard.as_ref().map_or(0, |(count, _)| *count);
            self.coming.truncate(have + count);
            match heard {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    fn open(now: Instant) -> (UnixStream, NameStream) {
        let (theirs, stream) = NameStream::open(Arc::default(), now).unwrap();
        let theirs = UnixStream::from(theirs);
        theirs.set_nonblocking(false).unwrap();
        (theirs, stream)
    }

    fn read(from: &mut UnixStream, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        from.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn each_question_waits_for_the_answer_to_the_one_before() {
        let now = Instant::now();
        let (mut guest, mut stream) = open(now);
        assert_eq!(stream.next(now), Told::Nothing);
        // In pieces, and the next one with the end of the first.
        guest.write_all(&[0]).unwrap();
        assert_eq!(stream.next(now), Told::Nothing);
        guest.write_all(&[3, b'o', b'n']).unwrap();
        assert_eq!(stream.next(now), Told::Nothing);
        guest.write_all(b"e\0\x03two").unwrap();
        assert_eq!(stream.next(now), Told::Query(b"one".to_vec()));
        let (mut resolver, ours) = pair();
        ours.set_nonblocking(true).unwrap();
        stream.pass_on(b"one".to_vec(), ours.into(), 0, now);
        assert_eq!(stream.next(now), Told::Nothing);
        assert_eq!(read(&mut resolver, 5), b"\0\x03one");
        resolver.write_all(b"\0\x04said").unwrap();
        assert_eq!(stream.next(now), Told::Answer(b"said".to_vec()));
        stream.answer(b"told", now);
        assert_eq!(stream.next(now), Told::Query(b"two".to_vec()));
        assert_eq!(read(&mut guest, 6), b"\0\x04told");
        // Whoever says no more still hears.
        guest.shutdown(std::net::Shutdown::Write).unwrap();
        stream.answer(b"more", now);
        assert_eq!(stream.next(now), Told::Over);
        assert_eq!(read(&mut guest, 6), b"\0\x04more");
    }

    #[test]
    fn nobody_is_waited_for_for_ever() {
        let now = Instant::now();
        let (mut guest, mut stream) = open(now);
        guest.write_all(b"\0\x03one").unwrap();
        assert!(matches!(stream.next(now), Told::Query(_)));
        for is_silent in [true, false] {
            let (resolver, ours) = pair();
            ours.set_nonblocking(true).unwrap();
            stream.pass_on(b"one".to_vec(), ours.into(), 1, now);
            let later = match is_silent {
                true => stream.deadline(),
                // It is gone.
                false => now,
            };
            let _silent = is_silent.then_some(resolver);
            assert_eq!(stream.next(later), Told::Lost(b"one".to_vec(), 2));
        }
        assert_eq!(stream.next(now), Told::Nothing);
        stream.answer(b"none", now);
        assert_eq!(stream.next(stream.deadline()), Told::Over);
    }

    #[test]
    fn who_does_not_listen_is_not_asked() {
        let now = Instant::now();
        let (mut guest, mut stream) = open(now);
        guest.write_all(b"\0\x01x").unwrap();
        assert!(matches!(stream.next(now), Told::Query(_)));
        for _ in 0..64 {
            stream.answer(&[7; 60_000], now);
        }
        guest.write_all(b"\0\x01y").unwrap();
        assert_eq!(stream.next(now), Told::Nothing);
        assert_eq!(read(&mut guest, 2), 60_000_u16.to_be_bytes());
    }
}
