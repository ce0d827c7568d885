//! The streams between a user and a session: raw bytes, a thread each.
//!
//! They are read and written, not spliced, so not by `io::copy`: a splice into a pipe holds the pipe
//! while it waits for more to come, and who reads the other end gets nothing until then.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, poll};

use super::client::Wire;

/// Bytes carried at once.
const CHUNK: usize = 64 << 10;

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

/// Whether the workload's output still flows, for whoever waits for its last byte: a guest that
/// keeps silent is waited for shortly, a user who reads slowly is waited for.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: AtomicU64,
    counted: AtomicU64,
    /// Relays whose user has not taken the last bytes yet.
    giving: AtomicUsize,
}

impl Pulse {
    /// Whether bytes flowed since this was asked last, or wait for the user.
    pub fn beats(&self) -> bool {
        self.flows() || self.giving.load(Ordering::SeqCst) > 0
    }

    /// Whether bytes flowed since this was asked last, whoever waits for whom now.
    pub fn flows(&self) -> bool {
        let beats = self.beats.load(Ordering::SeqCst);
        self.counted.swap(beats, Ordering::SeqCst) != beats
    }

    /// Hands bytes to the user, who may take them late.
    pub fn give<T>(&self, give: impl FnOnce() -> T) -> T {
        self.giving.fetch_add(1, Ordering::SeqCst);
        self.beats.fetch_add(1, Ordering::SeqCst);
        let given = give();
        self.giving.fetch_sub(1, Ordering::SeqCst);
        given
    }
}

impl From<[OwnedFd; 3]> for Stdio {
    fn from([stdin, stdout, stderr]: [OwnedFd; 3]) -> Self {
        Self {
            stdin,
            stdout,
            stderr,
        }
    }
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
}

/// The process's end of a stream, as a file.
struct End<'w, W>(&'w W);

impl<W: Wire> Read for End<'_, W> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl<W: Wire> Write for End<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Wire> AsFd for End<'_, W> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The user's bytes to the process, until their end, or the process's, or until `leaving` hangs up.
/// That the process stopped reading is its own affair.
pub fn feed(mut user: File, wire: &impl Wire, leaving: &PipeReader) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while wait_for_user(&user, wire, leaving)? {
        match take(&mut user, &mut buffer)? {
            0 => break,
            count if give(&mut End(wire), &buffer[..count]).is_err() => break,
            _ => {}
        }
    }
    Ok(())
}

/// Waits for bytes of the user's; false when nobody is left to take or to give some. A byte that is
/// not for this session any more is left where it is: the file may be a terminal that others read.
fn wait_for_user(user: &File, wire: &impl Wire, leaving: &PipeReader) -> io::Result<bool> {
    let mut entries = [
        PollFd::new(user, PollFlags::IN),
        PollFd::new(wire, PollFlags::empty()),
        PollFd::new(leaving, PollFlags::empty()),
    ];
    loop {
        match poll(&mut entries, None) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let [_, wire, leaving] = entries.map(|entry| entry.revents());
    Ok(wire.is_empty() && leaving.is_empty())
}

/// The process's bytes to the user. When the user's reader is gone the stream is closed towards
/// the process, which gets SIGPIPE as it would on a pipe; when the user is `gone`, they
/// are dropped.
pub fn drain(wire: &impl Wire, mut user: File, pulse: &Pulse, gone: &AtomicBool) -> io::Result<()> {
    let mut end = End(wire);
    let mut buffer = vec![0; CHUNK];
    // Who is gone has no more bytes, however it went.
    while let Ok(count @ 1..) = take(&mut end, &mut buffer) {
        let given = pulse.give(|| match gone.load(Ordering::SeqCst) {
            true => Ok(()),
            false => give(&mut user, &buffer[..count]),
        });
        match given {
            Err(error) if !gone.load(Ordering::SeqCst) => {
                return match error.kind() {
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
                    _ => Err(error),
                };
            }
            _ => {}
        }
    }
    Ok(())
}

/// The process's bytes to nobody.
pub fn drop_all(wire: &impl Wire) {
    let mut end = End(wire);
    let mut buffer = vec![0; CHUNK];
    while let Ok(1..) = take(&mut end, &mut buffer) {}
}

/// Reads once, waiting for bytes also where somebody made the file non-blocking.
fn take(from: &mut (impl Read + AsFd), buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(&*from, PollFlags::IN)?;
            }
            read => return read,
        }
    }
}

/// Writes everything, waiting for room also where somebody made the file non-blocking.
fn give(to: &mut (impl Write + AsFd), bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match to.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(&*to, PollFlags::OUT)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait(file: &impl AsFd, wanted: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(file, wanted)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Duration;

    use std::io::PipeWriter;
    use std::os::unix::net::UnixStream;

    use husk_init::frame::Stream;
    use husk_init::job::Process;
    use rustix::fs::{OFlags, fcntl_setfl};

    use super::super::client;
    use super::*;

    type Client = client::Client<UnixStream>;

    fn client(stdin: OwnedFd, stdout: OwnedFd) -> Client {
        let stderr = File::open("/dev/null").unwrap().into();
        let stdio = Stdio {
            stdin,
            stdout,
            stderr,
        };
        Client::new(stdio, &Process::default()).unwrap()
    }

    fn carry_output(guest: UnixStream, to: PipeWriter, pulse: &Pulse) -> io::Result<()> {
        let drained = drain(
            &guest,
            OwnedFd::from(to).into(),
            pulse,
            &AtomicBool::new(false),
        );
        drop(guest);
        drained
    }

    fn carry_input(guest: UnixStream, from: PipeReader) -> io::Result<()> {
        let null = File::open("/dev/null").unwrap().into();
        client(from.into(), null).carry(Stream::Stdin, guest)
    }

    #[test]
    fn a_closed_reader_closes_the_guests_stream() {
        let (guest, mut workload) = UnixStream::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let relay = thread::spawn(move || carry_output(guest, writer, &Pulse::default()));
        workload.write_all(b"nobody reads this").unwrap();
        assert!(relay.join().unwrap().is_ok());
        assert_eq!(workload.read(&mut [0; 1]).unwrap_or(0), 0);
        assert!(workload.write_all(b"x").is_err());
    }

    #[test]
    fn what_the_workload_says_is_heard_while_it_goes_on() {
        let (guest, mut workload) = UnixStream::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let relay = thread::spawn(move || carry_output(guest, writer, &Pulse::default()));
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
        carry_input(guest, reader).unwrap();
        let mut text = String::new();
        workload.read_to_string(&mut text).unwrap();
        assert_eq!(text, "all of it");
    }

    #[test]
    fn a_machine_that_dies_with_stdin_unread_is_no_failure_of_stdin() {
        let (guest, machine) = UnixStream::pair().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let relay = thread::spawn(move || carry_input(guest, reader));
        let user = thread::spawn(move || while writer.write_all(&[7; 4096]).is_ok() {});
        // Until the socket is full and the relay waits in its write.
        thread::sleep(Duration::from_millis(300));
        drop(machine);
        assert!(relay.join().unwrap().is_ok());
        user.join().unwrap();
    }

    #[test]
    fn a_user_with_non_blocking_pipes_loses_nothing() {
        let (guest, mut workload) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        let relay = thread::spawn(move || carry_output(guest, writer, &Pulse::default()));
        let sender = thread::spawn(move || workload.write_all(&[7; 1 << 20]));
        thread::sleep(Duration::from_millis(100));
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).unwrap();
        sender.join().unwrap().unwrap();
        assert!(relay.join().unwrap().is_ok());
        assert_eq!(heard.len(), 1 << 20);
    }

    #[test]
    fn a_user_who_reads_slowly_is_a_pulse_and_a_silent_guest_is_none() {
        let pulse = std::sync::Arc::new(Pulse::default());
        let (guest, mut workload) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let beating = std::sync::Arc::clone(&pulse);
        let relay = thread::spawn(move || carry_output(guest, writer, &beating));
        assert!(!pulse.beats());
        workload.write_all(&vec![7; 150_000]).unwrap();
        thread::sleep(Duration::from_millis(100));
        assert!(pulse.beats() && pulse.beats(), "the pipe is full");
        drop(workload);
        reader.read_to_end(&mut Vec::new()).unwrap();
        relay.join().unwrap().unwrap();
        assert!(pulse.beats() && !pulse.beats());
    }

    #[test]
    fn a_user_who_leaves_closes_stdin_and_stops_no_writer() {
        let (input, _typing) = io::pipe().unwrap();
        let (_never_read, output) = io::pipe().unwrap();
        let user = Arc::new(client(input.into(), output.into()));
        let pairs = [Stream::Stdin, Stream::Stdout].map(|stream| {
            let (guest, workload) = UnixStream::pair().unwrap();
            let user = Arc::clone(&user);
            (thread::spawn(move || user.carry(stream, guest)), workload)
        });
        let [(stdin, reads), (stdout, mut writes)] = pairs;
        // More than the user's pipe and the socket hold: the relay waits for the user.
        let writer = thread::spawn(move || writes.write_all(&[7; 4 << 20]));
        thread::sleep(Duration::from_millis(200));
        assert!(!writer.is_finished());
        user.leave();
        writer.join().unwrap().unwrap();
        assert_eq!(reads.read(&mut [0; 1]).unwrap(), 0);
        stdin.join().unwrap().unwrap();
        assert!(
            !stdout.is_finished(),
            "its user's pipe is full, and others hold it"
        );
    }

    #[test]
    fn who_types_is_not_waited_for_when_the_terminal_has_ended() {
        let (input, mut typing) = io::pipe().unwrap();
        let mut after = input.try_clone().unwrap();
        let (guest, terminal) = UnixStream::pair().unwrap();
        let process = Process {
            stdin: true,
            ..Process::default()
        };
        let null = || {
            File::options()
                .write(true)
                .open("/dev/null")
                .unwrap()
                .into()
        };
        let stdio = Stdio {
            stdin: input.into(),
            stdout: null(),
            stderr: null(),
        };
        let user = Client::new(stdio, &process).unwrap();
        drop(terminal);
        user.carry(Stream::Terminal, guest).unwrap();
        thread::sleep(Duration::from_millis(100));
        typing.write_all(b"x").unwrap();
        let mut byte = [0];
        after.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x", "left for whoever reads next");
    }
}
