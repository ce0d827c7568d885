//! The guest's console as `husk run` sees it: lines of the kernel, kept for the case that they are
//! the last ones, and shown when asked for.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::spec::sentence::printable;
use crate::sys::lock::lock;

/// Lines kept.
const KEPT: usize = 24;

/// Longest line kept, bytes; a longer one is cut into several.
const LONGEST: u64 = 512;

/// What a kernel says before it stops all its CPUs (`kernel/reboot.c`).
const HALTED: [&str; 3] = [
    "reboot: System halted",
    "System halted instead",
    "reboot: Power down",
];

/// How long the last lines may take to come. A machine that was taken over can have given the pipe
/// to somebody who never closes it.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The last lines of a console.
#[derive(Debug)]
pub struct Console {
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Closed when the pipe is at its end.
    end: Receiver<()>,
}

impl Console {
    /// Follows `pipe` until its writer closes it; `show` prints each line to stderr too. `halted` is
    /// told when the kernel says that it stops for good: without ACPI there is no other sign of it.
    pub fn follow(
        pipe: PipeReader,
        show: bool,
        halted: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let (open, end) = channel();
        thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || {
                follow(BufReader::new(pipe), |text| {
                    if show {
                        // A closed stderr is no reason to lose the guest.
                        let _closed = writeln!(io::stderr(), "[console] {text}");
                    }
                    if HALTED.iter().any(|words| text.ends_with(words)) {
                        halted();
                    }
                    keep(&kept, text);
                });
                drop(open);
            })?;
        Ok(Self { lines, end })
    }

    /// The last lines, once the machine's process is gone.
    pub fn finish(self) -> Vec<String> {
        // Nothing is ever sent: this waits for the end, or no longer.
        let _ended = self.end.recv_timeout(LAST_LINES);
        lock(&self.lines).drain(..).collect()
    }
}

fn follow(mut pipe: impl BufRead, mut each: impl FnMut(String)) {
    let mut line = Vec::new();
    while matches!(pipe.by_ref().take(LONGEST).read_until(b'\n', &mut line), Ok(count) if count > 0)
    {
        each(printable(&line));
        line.clear();
    }
}

fn keep(kept: &Mutex<VecDeque<String>>, text: String) {
    let mut kept = lock(kept);
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_halts_says_so() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (sender, halted) = channel();
        let tell = move || sender.send(()).unwrap();
        let console = Console::follow(reader, false, tell).unwrap();
        writeln!(writer, "reboot: System halted?").unwrap();
        write!(writer, "[    3.1] reboot: System halted\r\n").unwrap();
        halted.recv_timeout(Duration::from_secs(10)).unwrap();
        drop(writer);
        assert_eq!(console.finish().len(), 2);
        assert!(halted.try_recv().is_err());
    }

    #[test]
    fn a_pipe_that_is_never_closed_is_not_waited_for() {
        let (reader, mut writer) = io::pipe().unwrap();
        let console = Console::follow(reader, false, || ()).unwrap();
        writeln!(writer, "last words").unwrap();
        assert_eq!(console.finish(), ["last words"]);
        drop(writer);
    }

    #[test]
    fn the_last_lines_are_kept_and_harmless() {
        let (reader, mut writer) = io::pipe().unwrap();
        let console = Console::follow(reader, false, || ()).unwrap();
        for number in 0..100 {
            writeln!(writer, "line {number}\x1b[2J").unwrap();
        }
        drop(writer);
        let lines = console.finish();
        assert_eq!(lines.len(), KEPT);
        assert_eq!(lines.last().unwrap(), "line 99\\u{1b}[2J");
    }
}
