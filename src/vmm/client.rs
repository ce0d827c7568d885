//! Who uses a session: the user's ends of its streams, carried on a thread per stream until either
//! side closes it, or the user leaves.
//!
//! A user who leaves closes stdin; a process that goes on to write is not stopped by that, so what it
//! says is read and dropped.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use husk_init::frame::Stream;
use husk_init::job::Process;

use super::relay::{self, Pulse, Stdio};
use crate::sys::lock::lock;

/// The user's side of one session.
#[derive(Debug)]
pub struct Client {
    stdio: Stdio,
    /// Whether anything is typed on a terminal.
    types: bool,
    /// Whether output still flows.
    pub pulse: Pulse,
    gone: AtomicBool,
    /// Hangs up when the user leaves: for who waits for the user's next byte.
    leaving: PipeReader,
    stays: Mutex<Option<PipeWriter>>,
    /// The guest's connections of output that are being carried.
    outputs: Mutex<Vec<Weak<UnixStream>>>,
}

impl Client {
    /// Of a session that runs `process`.
    pub fn new(stdio: Stdio, process: &Process) -> io::Result<Self> {
        let (leaving, stays) = io::pipe()?;
        Ok(Self {
            stdio,
            types: process.stdin,
            pulse: Pulse::default(),
            gone: AtomicBool::new(false),
            leaving,
            stays: Mutex::new(Some(stays)),
            outputs: Mutex::default(),
        })
    }

    /// Carries `stream` over `guest` until either side closes it; the error is what kept the
    /// user's side from taking or giving bytes.
    pub fn carry(&self, stream: Stream, guest: UnixStream) -> io::Result<()> {
        match stream {
            Stream::Stdin => {
                let fed = relay::feed(self.stdin()?, &guest, &self.leaving);
                // Fails only when the guest is gone, and then nobody waits for an end of file.
                let _gone = guest.shutdown(Shutdown::Write);
                fed
            }
            Stream::Stdout => self.drain(guest, self.stdio.stdout.try_clone()?.into()),
            Stream::Stderr => self.drain(guest, self.stdio.stderr.try_clone()?.into()),
            Stream::Terminal => {
                if self.types {
                    self.type_on(guest.try_clone()?)?;
                }
                self.drain(guest, self.stdio.stdout.try_clone()?.into())
            }
        }
    }

    fn stdin(&self) -> io::Result<File> {
        Ok(self.stdio.stdin.try_clone()?.into())
    }

    /// What the user types goes to the terminal on a thread of its own. Its end is no end of the
    /// terminal, which goes on to show.
    fn type_on(&self, guest: UnixStream) -> io::Result<()> {
        let (user, leaving) = (self.stdin()?, self.leaving.try_clone()?);
        thread::Builder::new()
            .name("typist".to_owned())
            .spawn(move || relay::feed(user, &guest, &leaving))?;
        Ok(())
    }

    fn drain(&self, guest: UnixStream, user: File) -> io::Result<()> {
        let guest = Arc::new(guest);
        lock(&self.outputs).push(Arc::downgrade(&guest));
        let drained = relay::drain(&guest, user, &self.pulse, &self.gone);
        // However it ended, nothing more is carried either way.
        let _gone = guest.shutdown(Shutdown::Both);
        drained
    }

    /// The session is over: who has its streams open still, loses them.
    pub fn hang_up(&self) {
        lock(&self.stays).take();
        for guest in lock(&self.outputs).drain(..) {
            if let Some(guest) = guest.upgrade() {
                let _gone = guest.shutdown(Shutdown::Both);
            }
        }
    }

    /// The user is gone, and the process goes on.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::SeqCst);
        lock(&self.stays).take();
        for guest in lock(&self.outputs).drain(..) {
            let Some(guest) = guest.upgrade() else {
                continue;
            };
            // Beside the relay, which may wait for a user who takes nothing and never will. Without
            // a thread the process waits as it would for a user who reads nothing.
            let _no_thread = thread::Builder::new()
                .name("drain".to_owned())
                .spawn(move || relay::drop_all(&guest));
        }
    }
}

/// The streams that a process of a session has.
pub fn streams_of(process: &Process) -> Vec<Stream> {
    let stdin = process.stdin.then_some(Stream::Stdin);
    match process.terminal {
        Some(_) => vec![Stream::Terminal],
        None => stdin
            .into_iter()
            .chain([Stream::Stdout, Stream::Stderr])
            .collect(),
    }
}
