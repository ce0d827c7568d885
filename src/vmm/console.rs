//! The guest's console as `husk run` sees it: lines of the kernel, kept for the case that they are
//! the last ones, and shown when asked for.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::sys::lock::lock;

/// Lines kept.
const KEPT: usize = 24;

/// Longest line kept, bytes; a longer one is cut into several.
const LONGEST: u64 = 512;

/// The last lines of a console.
#[derive(Debug)]
pub struct Console {
    lines: Arc<Mutex<VecDeque<String>>>,
    thread: JoinHandle<()>,
}

impl Console {
    /// Follows `pipe` until its writer closes it; `show` prints each line to stderr too.
    pub fn follow(pipe: PipeReader, show: bool) -> io::Result<Self> {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let thread = thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || follow(BufReader::new(pipe), &kept, show))?;
        Ok(Self { lines, thread })
    }

    /// The last lines, once the machine's process is gone.
    pub fn finish(self) -> Vec<String> {
        // A console thread that panicked has kept what it had.
        let _panicked = self.thread.join();
        lock(&self.lines).drain(..).collect()
    }
}

fn follow(mut pipe: impl BufRead, kept: &Mutex<VecDeque<String>>, show: bool) {
    let mut line = Vec::new();
    while matches!(pipe.by_ref().take(LONGEST).read_until(b'\n', &mut line), Ok(count) if count > 0)
    {
        let text = printable(&line);
        line.clear();
        if show {
            // A closed stderr is no reason to lose the guest.
            let _closed = writeln!(io::stderr(), "[console] {text}");
        }
        let mut kept = lock(kept);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(text);
    }
}

/// A guest's bytes made safe for a terminal: control characters become `\x..`.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = text.trim_end().chars().map(|c| match c {
        '\t' => " ".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_harmless() {
        let (reader, mut writer) = io::pipe().unwrap();
        let console = Console::follow(reader, false).unwrap();
        for number in 0..100 {
            writeln!(writer, "line {number}\x1b[2J").unwrap();
        }
        drop(writer);
        let lines = console.finish();
        assert_eq!(lines.len(), KEPT);
        assert_eq!(lines.last().unwrap(), "line 99\\u{1b}[2J");
    }
}
