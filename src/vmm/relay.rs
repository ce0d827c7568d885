//! The three streams between `husk run` and the workload: raw bytes, a thread each.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use husk_init::frame::Stream;

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
    let copied = io::copy(&mut user, &mut guest);
    // Fails only when the guest is gone, and then nobody waits for an end of file.
    let _gone = guest.shutdown(Shutdown::Write);
    match copied {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map(drop),
    }
}

/// The workload's bytes to the user. When the user's reader is gone the stream is closed towards
/// the guest, where the workload gets SIGPIPE as it would on a pipe.
fn drain(mut guest: UnixStream, mut user: File) -> io::Result<()> {
    match io::copy(&mut guest, &mut user) {
        Ok(_) => Ok(()),
        Err(error) => {
            let _gone = guest.shutdown(Shutdown::Both);
            match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
                _ => Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::thread;

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
