//! What others ask of who keeps a machine, over the socket in its folder.
//!
//! ```text
//!  somebody                                the keeper
//!    ├── Signal{number} ──────────────────────▶ │
//!    │ ◀──────────────── Done, or Refused{text} ┤   one answer to each request
//!    ├── Exec{…} + three files ───────────────▶ │   at most one in the life of a connection
//!    │ ◀──────────────────────────────── Done ──┤
//!    │ ◀──── Started, then Exited; or Failed ───┤   unasked, as it comes
//!    ├── Resize{…} ───────────────────────────▶ │   the terminal of what it runs
//!    ├── Update{…} ───────────────────────────▶ │   of a machine's memory: its guest is waited for
//!    │ ◀──────────────────────────── Underway ──┤
//!    │ ◀──────────────── Done, or Refused{text} ┤   unasked
//!    │ ◀─────────────────────── Ended{status} ──┤   unasked, when the machine has ended for good
//! ```
//!
//! Messages are JSON, one each; a request may have open files with it. A connection that is closed without
//! an end says that this keeper is gone, and the machine's files say what that means.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::folder::{CONTROL, Folder};
use crate::spec::{Exec, Seat, Update};
use crate::sys::lock::lock;
use crate::sys::seqpacket::{Listener, Message, Seqpacket};

/// Connections at a time; whoever comes then waits in the socket's queue.
const MOST_CLIENTS: usize = 64;

/// How long a keeper may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// From somebody to the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Give the workload this signal.
    Signal {
        /// 1 to 64.
        number: u8,
    },
    /// Run this beside the workload, with these files as its stdin, stdout and stderr; of a terminal, what
    /// is typed and what is shown. When the connection is closed, its streams are, too.
    Exec(Exec),
    /// Have the machine's network reach the other machines on one more network, from this place, by the file, a connection
    /// to its switch.
    Join(Box<Seat>),
    /// Have it reach those of this network no more.
    Leave {
        /// The network's name.
        network: String,
    },
    /// Halt everything in the machine.
    Pause,
    /// Let it go on.
    Unpause,
    /// Change what it may use, and when it is started again, from now on and in what is kept of it.
    Update(Update),
    /// From now on, and until this connection ends, the caller is there to start it again after its end: hand the machine's
    /// lock over by this file, a socket. Where somebody is there already, nothing comes by it.
    Succeed,
    /// Take what comes from this file as typed for the workload, until this connection or the file ends.
    Attach,
    /// Give the terminal of what this connection runs, or is attached to, another size.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
}

/// From the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done, or under way.
    Done,
    /// It takes its time: another reply comes, unasked.
    Underway,
    /// It cannot be done.
    Refused {
        /// Why, as the rest of a sentence about the keeper.
        text: String,
    },
    /// The machine has ended.
    Ended {
        /// How, in docker's numbers.
        status: u8,
    },
    /// What was to be run, runs.
    Started,
    /// It never began.
    Failed {
        /// Why, as a sentence.
        text: String,
        /// Docker's number for it.
        status: u8,
    },
    /// It has ended, and its output has arrived.
    Exited {
        /// How, in docker's numbers.
        status: u8,
    },
}

/// What a wait ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The keeper said this.
    Reply(Reply),
    /// The keeper is gone.
    Gone,
    /// It took too long.
    Late,
}

/// Somebody who has connected.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    socket: Seqpacket,
    /// Held while a request is answered: what it sets off must not be told before the answer is.
    turn: Mutex<()>,
}

impl Caller {
    fn new(socket: Seqpacket) -> Self {
        let turn = Mutex::new(());
        Self(Arc::new(Connection { socket, turn }))
    }

    /// Says something unasked, after the answer that is being given, if one is. Who does not listen misses
    /// it. Not for who answers: the turn is its own.
    pub fn tell(&self, reply: &Reply) {
        let _turn = lock(&self.0.turn);
        let _missed = send(&self.0.socket, reply, &[]);
    }
}

impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What a keeper answers with.
pub trait Attend {
    /// Answers a request, which came with these files.
    fn answer(&mut self, caller: &Caller, request: Request, files: Vec<OwnedFd>) -> Reply;
    /// A caller has hung up.
    fn leave(&mut self, _caller: &Caller) {}
}

impl<F: FnMut(Request, Vec<OwnedFd>) -> Reply> Attend for F {
    fn answer(&mut self, _caller: &Caller, request: Request, files: Vec<OwnedFd>) -> Reply {
        self(request, files)
    }
}

type Clients = Arc<Mutex<Vec<Caller>>>;

/// The keeper's end.
#[derive(Debug)]
pub struct Control {
    listener: Listener,
    clients: Clients,
}

/// Those who listen to a keeper that has its hands free.
#[derive(Debug)]
pub struct Audience(Clients);

impl Control {
    /// Makes the socket in `folder`, whose lock is the caller's: what is there is a dead keeper's.
    pub fn open(folder: &Folder) -> io::Result<Self> {
        let path = folder.short_path(CONTROL);
        let listener = match Listener::bind(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                unlinkat(folder, CONTROL, AtFlags::empty())?;
                Listener::bind(&path)?
            }
            bound => bound?,
        };
        Ok(Self {
            listener,
            clients: Clients::default(),
        })
    }

    /// Removes the socket from `folder`: nobody comes from here on.
    pub fn close(folder: &Folder) {
        // It may never have been there; and a stale one is nobody's, and in nobody's way.
        let _absent = unlinkat(folder, CONTROL, AtFlags::empty());
    }

    /// Answers requests on a thread of its own, as long as this process lives.
    pub fn serve(mut self, mut answer: impl Attend + Send + 'static) -> io::Result<Audience> {
        let audience = Audience(Arc::clone(&self.clients));
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || while self.attend(None, &mut answer).is_ok() {})?;
        Ok(audience)
    }

    /// Answers requests until `deadline`, or until `is_over` says so after one.
    pub fn serve_until(
        &mut self,
        deadline: Instant,
        mut answer: impl Attend,
        is_over: impl Fn() -> bool,
    ) -> io::Result<()> {
        while !is_over() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.attend(Some(left), &mut answer)?;
        }
        Ok(())
    }

    /// Waits for somebody to come, ask or go, and sees to it.
    fn attend(&mut self, limit: Option<Duration>, answer: &mut impl Attend) -> io::Result<()> {
        let clients = lock(&self.clients).clone();
        let has_room = clients.len() < MOST_CLIENTS;
        let door = has_room.then(|| PollFd::new(&self.listener, PollFlags::IN));
        let mut entries: Vec<_> = clients
            .iter()
            .map(|client| PollFd::from_borrowed_fd(client.0.socket.as_fd(), PollFlags::IN))
            .chain(door)
            .collect();
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut entries, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<_> = entries
            .iter()
            .map(|entry| !entry.revents().is_empty())
            .collect();
        for (client, _) in clients.iter().zip(&ready).filter(|(_, ready)| **ready) {
            if !hear(client, answer) {
                lock(&self.clients).retain(|other| other != client);
                answer.leave(client);
            }
        }
        if has_room && ready.last() == Some(&true) {
            // Whoever hung up again, or a host without descriptors: the next one may have more luck.
            if let Ok(client) = self.listener.accept() {
                lock(&self.clients).push(Caller::new(client));
            }
        }
        Ok(())
    }
}

impl Audience {
    /// Tells everybody that the machine has ended.
    pub fn tell_the_end(&self, status: u8) {
        for client in lock(&self.0).iter() {
            // Who does not listen reads it in the state.
            client.tell(&Reply::Ended { status });
        }
    }
}

/// One request of `client`; whether there may be more. What is no request ends the connection.
fn hear(client: &Caller, answer: &mut impl Attend) -> bool {
    match client.0.socket.receive() {
        Ok(Some(Message { bytes, files })) => match serde_json::from_slice(&bytes) {
            Ok(request) => {
                let _turn = lock(&client.0.turn);
                let reply = answer.answer(client, request, files);
                send(&client.0.socket, &reply, &[]).is_ok()
            }
            Err(_) => false,
        },
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        Ok(None) => false,
    }
}

fn send<T: Serialize>(to: &Seqpacket, message: &T, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    to.send(&serde_json::to_vec(message)?, files)
}

/// A connection to a keeper.
#[derive(Debug)]
pub struct Line(Seqpacket);

impl Line {
    /// Connects; `None` where nobody listens: no keeper, or not yet.
    pub fn connect(folder: &Folder) -> io::Result<Option<Self>> {
        match Seqpacket::connect(&folder.short_path(CONTROL)) {
            Ok(socket) => Ok(Some(Self(socket))),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// The keeper's process.
    pub fn keeper(&self) -> io::Result<Pid> {
        self.0.peer()
    }

    /// Asks, and leaves the answer to who waits for words.
    pub fn send(&self, request: &Request) {
        // A keeper that is gone is noticed by who waits.
        let _gone = send(&self.0, request, &[]);
    }

    /// Asks, and waits for the answer.
    pub fn ask(&self, request: &Request, files: &[BorrowedFd<'_>]) -> io::Result<Answer> {
        match send(&self.0, request, files) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Answer::Gone),
            Err(error) => Err(error),
            Ok(()) => self.wait(Some(PATIENCE)),
        }
    }

    /// Waits for a word of the keeper's.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<Answer> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let limit = left.and_then(|left| Timespec::try_from(left).ok());
            let came = match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], limit.as_ref()) {
                Err(Errno::INTR) => continue,
                came => came?,
            };
            if came == 0 {
                return Ok(Answer::Late);
            }
            return match self.0.receive() {
                Ok(Some(message)) => Ok(Answer::Reply(serde_json::from_slice(&message.bytes)?)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Answer::Gone),
                Err(error) => Err(error),
                Ok(None) => Ok(Answer::Gone),
            };
        }
    }
}
