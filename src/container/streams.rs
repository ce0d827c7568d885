//! The workload's standard streams: husk's own, but where they are a terminal, or a runtime would write to
//! them too, a pipe that husk carries on: a workload that nobody trusts gets no hand on the user's terminal.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};

use rustix::fs::{FileType, fchown, fstat};
use rustix::process::Uid;
use rustix::termios::isatty;

/// Bytes carried at once.
const CHUNK: usize = 64 << 10;

/// The streams of one container.
#[derive(Debug)]
pub struct Streams {
    /// The workload's ends.
    pub workload: [OwnedFd; 3],
    /// What husk carries.
    pub relays: Vec<Relay>,
}

/// One stream that husk carries.
#[derive(Debug)]
pub struct Relay {
    from: File,
    to: File,
    is_output: bool,
}

impl Streams {
    /// Streams for a workload that gets a terminal instead.
    pub fn none() -> io::Result<Self> {
        let null = || {
            Ok::<_, io::Error>(
                File::options()
                    .read(true)
                    .write(true)
                    .open("/dev/null")?
                    .into(),
            )
        };
        Ok(Self {
            workload: [null()?, null()?, null()?],
            relays: Vec::new(),
        })
    }

    /// Streams for a workload that `uid` runs, of husk's `own`; `stdin` says whether it gets the first of
    /// them. `apart` has stderr carried in any case.
    pub fn open(own: [OwnedFd; 3], stdin: bool, apart: bool, uid: u32) -> io::Result<Self> {
        let [own_input, own_output, own_error] = own;
        let mut relays = Vec::new();
        let input = if !stdin {
            File::open("/dev/null")?.into()
        } else if isatty(&own_input) {
            let (reader, writer) = io::pipe()?;
            relays.push(Relay::input(own_input, writer.into()));
            reader.into()
        } else {
            own_input
        };
        let stdout = output(own_output, false, &mut relays)?;
        let stderr = output(own_error, apart, &mut relays)?;
        let workload = [input, stdout, stderr];
        for stream in &workload {
            give(stream, uid);
        }
        Ok(Self { workload, relays })
    }
}

fn output(own: OwnedFd, apart: bool, relays: &mut Vec<Relay>) -> io::Result<OwnedFd> {
    if !apart && !isatty(&own) {
        return Ok(own);
    }
    let (reader, writer) = io::pipe()?;
    relays.push(Relay::output(reader.into(), own));
    Ok(writer.into())
}

/// Behind /dev/stdout is the pipe itself, and only its owner may open it again.
pub(super) fn give(stream: &OwnedFd, uid: u32) {
    let is_pipe =
        fstat(stream).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    if is_pipe && uid != 0 {
        // A pipe of somebody else's stays theirs.
        let _not_ours = fchown(stream, Some(Uid::from_raw(uid)), None);
    }
}

impl Relay {
    /// What the user types.
    pub fn input(from: OwnedFd, to: OwnedFd) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            is_output: false,
        }
    }

    /// What the workload shows.
    pub fn output(from: OwnedFd, to: OwnedFd) -> Self {
        Self {
            is_output: true,
            ..Self::input(from, to)
        }
    }

    /// Carries until either side ends.
    fn run(mut self) {
        let mut chunk = vec![0; CHUNK];
        loop {
            match self.from.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) if self.to.write_all(&chunk[..count]).is_ok() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever is gone misses the rest, and the workload learns of it by its next write.
                _ => break,
            }
        }
    }
}

/// Outputs on their way.
#[derive(Debug)]
pub struct Outputs(Vec<JoinHandle<()>>);

/// Carries each stream on a thread of its own.
pub fn carry(relays: Vec<Relay>) -> io::Result<Outputs> {
    let mut outputs = Vec::new();
    for relay in relays {
        let is_output = relay.is_output;
        let thread = thread::Builder::new().name("stream".to_owned());
        let thread = thread.spawn(move || relay.run())?;
        if is_output {
            outputs.push(thread);
        }
    }
    Ok(Outputs(outputs))
}

impl Outputs {
    /// Waits for the last byte; everybody who could write is dead.
    pub fn finish(self) {
        for output in self.0 {
            // A panic there has been told already.
            let _told = output.join();
        }
    }
}
