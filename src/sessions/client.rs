//! Who uses a session: the user's ends of its streams, carried on a thread per stream until either
//! side closes it, or the user leaves.
//!
//! A user who leaves closes stdin; a process that goes on to write is not stopped by that, so what it
//! says is read and dropped.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use husk_init::frame::Stream;
use husk_init::job::Process;

use super::relay::{self, Pulse, Stdio};
use crate::sys::lock::lock;

/// What leads to the process of a session, for one of its streams: a connection of a guest's, or an end of a
/// pipe or a terminal.
pub trait Wire: AsFd + Send + Sync + Sized + 'static {
    /// Another handle of it.
    fn try_clone(&self) -> io::Result<Self>;
    /// What the process says: as a read of a file.
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize>;
    /// What the process is told: as a write to a file.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// There is no more that the process could be told.
    fn end_input(&self);
    /// Nothing more is carried either way: who waits for bytes gets none.
    fn hang_up(&self);
}

impl Wire for UnixStream {
    fn try_clone(&self) -> io::Result<Self> {
        Self::try_clone(self)
    }

    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut end = self;
        Read::read(&mut end, bytes)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut end = self;
        Write::write(&mut end, bytes)
    }

    fn end_input(&self) {
        // Fails only when the guest is gone, and then nobody waits for an end of file.
        let _gone = self.shutdown(Shutdown::Write);
    }

    fn hang_up(&self) {
        let _gone = self.shutdown(Shutdown::Both);
    }
}

/// The user's side of one session.
#[derive(Debug)]
pub struct Client<W> {
    stdio: Stdio,
    /// Whether anything is typed on a terminal.
    types: bool,
    /// Whether output still flows.
    pub pulse: Pulse,
    gone: AtomicBool,
    /// Hangs up when the user leaves: for who waits for the user's next byte.
    leaving: PipeReader,
    stays: Mutex<Option<PipeWriter>>,
    /// What output is being carried from.
    outputs: Mutex<Vec<Weak<W>>>,
}

impl<W: Wire> Client<W> {
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

    /// Carries `stream` over `wire` until either side closes it; the error is what kept the
    /// user's side from taking or giving bytes.
    pub fn carry(&self, stream: Stream, wire: W) -> io::Result<()> {
        match stream {
            Stream::Stdin => {
                let fed = relay::feed(self.stdin()?, &wire, &self.leaving);
                wire.end_input();
                fed
            }
            Stream::Stdout => self.drain(wire, self.stdio.stdout.try_clone()?.into()),
            Stream::Stderr => self.drain(wire, self.stdio.stderr.try_clone()?.into()),
            Stream::Terminal => {
                if self.types {
                    self.type_on(wire.try_clone()?)?;
                }
                self.drain(wire, self.stdio.stdout.try_clone()?.into())
            }
        }
    }

    fn stdin(&self) -> io::Result<File> {
        Ok(self.stdio.stdin.try_clone()?.into())
    }

    /// What the user types goes to the terminal on a thread of its own. Its end is no end of the
    /// terminal, which goes on to show.
    fn type_on(&self, wire: W) -> io::Result<()> {
        let (user, leaving) = (self.stdin()?, self.leaving.try_clone()?);
        thread::Builder::new()
            .name("typist".to_owned())
            .spawn(move || relay::feed(user, &wire, &leaving))?;
        Ok(())
    }

    fn drain(&self, wire: W, user: File) -> io::Result<()> {
        let wire = Arc::new(wire);
        lock(&self.outputs).push(Arc::downgrade(&wire));
        let drained = relay::drain(&*wire, user, &self.pulse, &self.gone);
        // However it ended, nothing more is carried either way.
        wire.hang_up();
        drained
    }

    /// The session is over: who has its streams open still, loses them.
    pub fn hang_up(&self) {
        lock(&self.stays).take();
        for wire in lock(&self.outputs).drain(..) {
            if let Some(wire) = wire.upgrade() {
                wire.hang_up();
            }
        }
    }

    /// The user is gone, and the process goes on.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::SeqCst);
        lock(&self.stays).take();
        for wire in lock(&self.outputs).drain(..) {
            let Some(wire) = wire.upgrade() else {
                continue;
            };
            // Beside the relay, which may wait for a user who takes nothing and never will. Without
            // a thread the process waits as it would for a user who reads nothing.
            let _no_thread = thread::Builder::new()
                .name("drain".to_owned())
                .spawn(move || relay::drop_all(&*wire));
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
