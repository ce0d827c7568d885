//! A session's pseudo-terminal: bytes move between its master and a connection, both ways.
//!
//! ```text
//!  connection ── typed ──▶ master        an end of file only stops the typing
//!  connection ◀── shown ── master        its end (EIO: nobody has the terminal open) ends both
//! ```
//! Neither end is a pipe, so the bytes pass through memory. While a buffer holds bytes its source
//! is not read: a terminal that nobody watches stops its writers, as a real one does.
//!
//! The process's own end is held open as long as the process lives, so that one that closes it and
//! opens it again finds it as it was.

use std::os::fd::OwnedFd;

use husk_init::job::Size;
use husk_init::sys::wait::{IDLE, entry};
use husk_init::sys::{self, Errno, Result, file, mount, socket, terminal};

use crate::relay::Flow;

/// Bytes on their way in one direction: what the kernel's line discipline holds (N_TTY_BUF_SIZE).
const BUFFER: usize = 4096;

const HUNG_UP: i16 = libc::POLLERR | libc::POLLHUP;

/// A terminal and who watches it. Dropping it hangs up on both.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    connection: OwnedFd,
    /// The process's end.
    held: Option<OwnedFd>,
    typed: Buffer,
    shown: Buffer,
    /// Whether the host may still type.
    typing: bool,
}

/// Bytes between a read and a write.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Terminal {
    /// A new terminal of this size, whose watcher is at the other end of `connection`.
    pub fn open(connection: OwnedFd, size: Size) -> Result<Self> {
        let master = terminal::open_master(c"/dev/ptmx")?;
        let slave = terminal::open_slave(&master)?;
        terminal::resize(&master, size)?;
        Ok(Self {
            master,
            connection,
            held: Some(slave),
            typed: Buffer::new(),
            shown: Buffer::new(),
            typing: true,
        })
    }

    /// The process's ends: its descriptors 0, 1 and 2.
    pub fn ends(&self) -> Result<[OwnedFd; 3]> {
        let held = self.held.as_ref().ok_or(Errno(libc::EIO))?;
        let end = || held.try_clone().map_err(Errno::from);
        Ok([end()?, end()?, end()?])
    }

    /// Shows the terminal as /dev/console too, as docker does.
    pub fn show_as_console(&self) -> Result<()> {
        let number = terminal::number(&self.master)?;
        let slave = sys::string(format!("/dev/pts/{number}").as_bytes())?;
        file::open(c"/dev/console", libc::O_CREAT | libc::O_RDONLY, 0o600)?;
        mount::mount(&slave, c"/dev/console", c"none", libc::MS_BIND, None)
    }

    /// Takes a new size.
    pub fn resize(&self, size: Size) {
        // Sizes are the host's to choose, and every one is taken.
        let _taken = terminal::resize(&self.master, size);
    }

    /// The process is dead: the terminal ends when nobody else has it open.
    pub fn let_go(&mut self) {
        self.held = None;
    }

    /// What to poll for: master and connection.
    pub fn entries(&self) -> [libc::pollfd; 2] {
        let reading = |wanted: bool| if wanted { libc::POLLIN } else { 0 };
        let writing = |buffer: &Buffer| if buffer.is_empty() { 0 } else { libc::POLLOUT };
        let master = reading(self.shown.is_empty()) | writing(&self.typed);
        let connection = reading(self.typing && self.typed.is_empty()) | writing(&self.shown);
        [
            // A terminal that hung up would wake poll for nothing while its last bytes wait.
            if master == 0 {
                IDLE
            } else {
                entry(&self.master, master)
            },
            entry(&self.connection, connection),
        ]
    }

    /// One turn, after poll.
    pub fn turn(&mut self, ready: [i16; 2]) -> Flow {
        let [master, connection] = ready;
        let mut ended = false;
        if connection & libc::POLLIN != 0 && self.typed.is_empty() {
            match self.typed.fill(&self.connection) {
                Ok(0) => self.typing = false,
                Ok(_) | Err(Errno(libc::EAGAIN | libc::EINTR)) => {}
                Err(_) => return Flow::Ended,
            }
        } else if connection & HUNG_UP != 0 {
            return Flow::Ended;
        }
        if master & (libc::POLLIN | HUNG_UP) != 0 && self.shown.is_empty() {
            match self.shown.fill(&self.master) {
                Err(Errno(libc::EAGAIN | libc::EINTR)) => {}
                Ok(0) | Err(_) => ended = true,
                Ok(_) => {}
            }
        }
        if self
            .typed
            .pour(|bytes| file::write(&self.master, bytes))
            .is_err()
        {
            // Nobody reads what is typed any more; what was shown may still be on its way.
            self.typing = false;
            self.typed = Buffer::new();
        }
        match self
            .shown
            .pour(|bytes| socket::send(&self.connection, bytes))
        {
            Ok(()) if !ended => Flow::Open,
            _ => Flow::Ended,
        }
    }
}

impl Buffer {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads once, when it is empty.
    fn fill(&mut self, from: &OwnedFd) -> Result<usize> {
        self.bytes.resize(BUFFER, 0);
        let count = file::read(from, &mut self.bytes)?;
        (self.start, self.end) = (0, count);
        Ok(count)
    }

    /// Writes once what it holds; a sink that is full has it wait.
    fn pour(&mut self, write: impl FnOnce(&[u8]) -> Result<usize>) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        match write(&self.bytes[self.start..self.end]) {
            Ok(count) => self.start += count,
            Err(Errno(libc::EAGAIN | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command};
    use std::thread::{self, JoinHandle};

    use husk_init::sys::wait::poll;

    use super::*;

    const SIZE: Size = Size {
        rows: 12,
        columns: 34,
    };

    /// A terminal, and the host's end of its connection.
    fn open() -> (Terminal, UnixStream) {
        let (guest, host) = UnixStream::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        (Terminal::open(guest.into(), SIZE).unwrap(), host)
    }

    /// Runs a script that the terminal controls.
    fn run(terminal: &Terminal, script: &str) -> Child {
        let [stdin, stdout, stderr] = terminal.ends().unwrap();
        let mut command = Command::new("env");
        command.args([
            "--default-signal",
            "setsid",
            "--ctty",
            "--wait",
            "sh",
            "-c",
            script,
        ]);
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        command.spawn().unwrap()
    }

    /// Carries to the end, as the loop of the sessions does.
    fn carry(mut terminal: Terminal) -> JoinHandle<()> {
        thread::spawn(move || {
            loop {
                let mut entries = terminal.entries();
                poll(&mut entries, 10_000).unwrap();
                if terminal.turn(entries.map(|entry| entry.revents)) == Flow::Ended {
                    return;
                }
            }
        })
    }

    fn hear_until(host: &mut UnixStream, word: &str) -> String {
        let mut heard = String::new();
        let mut byte = [0];
        while !heard.ends_with(word) {
            assert_eq!(host.read(&mut byte).unwrap(), 1, "{heard:?}");
            heard.push(byte[0].into());
        }
        heard
    }

    #[test]
    fn a_terminal_has_its_size_echoes_and_takes_control_characters() {
        let (mut terminal, mut host) = open();
        let mut child = run(
            &terminal,
            "stty size; read line; echo got $line; trap 'echo caught; exit 3' INT; while :; do sleep 0.1; done",
        );
        terminal.let_go();
        let carried = carry(terminal);
        hear_until(&mut host, "12 34\r\n");
        host.write_all(b"word\n").unwrap();
        hear_until(&mut host, "word\r\ngot word\r\n");
        thread::sleep(std::time::Duration::from_millis(200));
        host.write_all(b"\x03").unwrap();
        let rest = hear_until(&mut host, "caught\r\n");
        assert!(rest.starts_with("^C"), "{rest:?}");
        assert_eq!(child.wait().unwrap().code(), Some(3));
        carried.join().unwrap();
        assert_eq!(host.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn the_last_bytes_of_a_dead_process_are_shown() {
        let (mut terminal, mut host) = open();
        let mut child = run(&terminal, "seq 1 1500; exit 0");
        terminal.let_go();
        // Dead, with more than one buffer unread.
        child.wait().unwrap();
        let carried = carry(terminal);
        let mut heard = String::new();
        host.read_to_string(&mut heard).unwrap();
        carried.join().unwrap();
        assert_eq!(
            (heard.lines().count(), heard.ends_with("1500\r\n")),
            (1500, true)
        );
    }

    #[test]
    fn a_new_size_is_told_to_who_runs_on_it() {
        let (mut terminal, mut host) = open();
        let script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.1; done";
        let mut child = run(&terminal, script);
        terminal.let_go();
        let master = terminal.master.try_clone().unwrap();
        let carried = carry(terminal);
        hear_until(&mut host, "ready\r\n");
        let size = Size {
            rows: 50,
            columns: 132,
        };
        terminal::resize(&master, size).unwrap();
        hear_until(&mut host, "50 132\r\n");
        child.wait().unwrap();
        carried.join().unwrap();
    }

    #[test]
    fn an_end_of_what_is_typed_ends_nothing() {
        let (mut terminal, mut host) = open();
        let mut child = run(&terminal, "sleep 0.3; echo still here");
        terminal.let_go();
        host.shutdown(Shutdown::Write).unwrap();
        let carried = carry(terminal);
        hear_until(&mut host, "still here\r\n");
        child.wait().unwrap();
        carried.join().unwrap();
    }

    #[test]
    fn a_lost_watcher_hangs_up() {
        let (mut terminal, mut host) = open();
        let script = "trap 'exit 5' HUP; echo ready; while :; do sleep 0.1; done";
        let mut child = run(&terminal, script);
        terminal.let_go();
        let carried = carry(terminal);
        hear_until(&mut host, "ready\r\n");
        drop(host);
        carried.join().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(5));
    }

    #[test]
    fn nobody_who_watches_stops_the_writers() {
        let (mut terminal, mut host) = open();
        let mut child = run(&terminal, "head -c 2000000 /dev/zero | tr '\\0' x; exit 0");
        terminal.let_go();
        let carried = carry(terminal);
        thread::sleep(std::time::Duration::from_millis(300));
        assert!(child.try_wait().unwrap().is_none(), "the terminal is full");
        let mut heard = Vec::new();
        host.read_to_end(&mut heard).unwrap();
        child.wait().unwrap();
        carried.join().unwrap();
        assert_eq!(heard.len(), 2_000_000);
    }
}
