//! The three streams between `husk run` and the workload: raw bytes, a thread each.
//!
//! They are read and written, not spliced, so not by `io::copy`: a splice into a pipe holds the pipe
//! while it waits for more to come, and who reads the other end gets nothing until then.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use husk_init::frame::Stream;

/// Bytes moved at once: what a pipe holds.
const TURN: usize = 64 << 10;

/// The user's ends of the streams.
#[derive(Debug)]
pub struct Stdio {
    /// Where the workload's stdin comes from.
    pub stdin: OwnedFd,
    /// Where its stdout goes.
    pub stdout: OwnedFd,
    /// Where its stderr goes.
    pub stderr: OwnedFd,
}

impl Stdio {
    /// This process's own streams.
    pub fn inherit() -> io::Result<Self> {
        Ok(Self {
            stdin: io::stdin().as_fd().try_clone_to_owned()?,
            stdout: io::stdout().as_fd().try_clone_to_owned()?,
            stderr: io::stderr().as_fd().try_clone_to_owned()?,
        })
    }

    /// Carries `stream` over `guest` until either side closes it; the error is what kept the
    /// user's side from taking or giving bytes.
    pub fn carry(&self, stream: Stream, guest: UnixStream) -> io::Result<()> {
        match stream {
            Stream::Stdin => feed(File::from(self.stdin.try_clone()?), guest),
            Stream::Stdout => drain(guest, File::from(self.stdout.try_clone()?)),
            Stream::Stderr => drain(guest, File::from(self.stderr.try_clone()?)),
        }
    }
}

/// The user's bytes to the workload. That the workload stopped reading is its own affair.
fn feed(mut user: File, mut guest: UnixStream) -> io::Result<()> {
    let copied = pump(&mut user, &mut guest);
    // Fails only when the guest is gone, and then nobody waits for an end of file.
    let _gone = guest.shutdown(Shutdown::Write);
    match copied {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The workload's bytes to the user. When the user's reader is gone the stream is closed towards
/// the guest, where the workload gets SIGPIPE as it would on a pipe.
fn drain(mut guest: UnixStream, mut user: File) -> io::Result<()> {
    match pump(&mut guest, &mut user) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _gone = guest.shutdown(Shutdown::Both);
            match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
                _ => Err(error),
            }
        }
    }
}

/// Carries bytes until there are no more, each as soon as it comes.
fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; TURN];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_closed_reader_closes_the_guests_stream() {
        let (guest, mut workload) = UnixStream::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let relay = thread::spawn(move || drain(guest, File::from(OwnedFd::from(writer))));
        workload.write_all(b"nobody reads this").unwrap();
        assert!(relay.join().unwrap().is_ok());
        assert_eq!(workload.read(&mut [0; 1]).unwrap_or(0), 0);
        assert!(workload.write_all(b"x").is_err());
    }

    #[test]
    fn what_the_workload_says_is_heard_while_it_goes_on() {
        let (guest, mut workload) = UnixStream::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let relay = thread::spawn(move || drain(guest, File::from(OwnedFd::from(writer))));
        for word in [b"first", b"other"] {
            workload.write_all(word).unwrap();
            // The relay waits for more before anybody reads.
            thread::sleep(Duration::from_millis(50));
            let (told, heard) = mpsc::channel();
            let mut reader = reader.try_clone().unwrap();
            thread::spawn(move || {
                let mut bytes = [0; 5];
                reader.read_exact(&mut bytes).unwrap();
                told.send(bytes)
            });
            let heard = heard.recv_timeout(Duration::from_secs(10));
            assert_eq!(&heard.unwrap(), word);
        }
        drop(workload);
        assert!(relay.join().unwrap().is_ok());
    }

    #[test]
    fn the_end_of_stdin_reaches_the_workload() {
        let (guest, mut workload) = UnixStream::pair().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"all of it").unwrap();
        drop(writer);
        feed(File::from(OwnedFd::from(reader)), guest).unwrap();
        let mut text = String::new();
        workload.read_to_string(&mut text).unwrap();
        assert_eq!(text, "all of it");
    }
}
