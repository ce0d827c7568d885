//! What the guest tried to reach: a table of bounded length, and its copy in a file that outlives everybody.
//!
//! A destination has one line for each verdict on it. What is refused has lines of its own number, so that a guest that
//! knocks everywhere hides nothing of what it was let do; what finds no line left is counted together.

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::flows::Moved;
use crate::spec::{Attempt, Carrier, SLOT, Verdict, time};

/// Most lines of what is allowed, and of what is refused.
pub const MOST: usize = 256;

/// How long a line that changes all the time may be older in the file.
const LAG: Duration = Duration::from_millis(10);

/// What was tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tried {
    /// A conversation.
    Peer(Carrier, SocketAddr),
    /// To have a name resolved.
    Name(String),
    /// Anything else.
    Others,
}

/// The number of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line(usize);

/// All of it.
#[derive(Debug, Default)]
pub struct Attempts {
    file: Option<File>,
    lines: Vec<Attempt>,
    places: HashMap<(Tried, Verdict), Line>,
    /// Lines of what is refused, and of what is allowed.
    taken: [usize; 2],
    /// Where there is one line for what has none, for either verdict.
    others: [Option<Line>; 2],
    /// Lines that are newer here than in the file.
    changed: Vec<Line>,
    written: Option<Instant>,
}

impl Attempts {
    /// None yet; written to `file` as they come.
    pub fn new(file: Option<File>) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    /// Something was tried once more, and this is the verdict; `name` is what the guest calls the address.
    pub fn note(&mut self, tried: Tried, verdict: Verdict, name: Option<&str>) -> Line {
        let moment = time::now();
        let line = self.find(tried, verdict, moment);
        let attempt = &mut self.lines[line.0];
        attempt.count += 1;
        attempt.last = moment;
        if attempt.peer.is_some() && attempt.name.is_none() {
            attempt.name = name.map(plain);
        }
        match attempt.count {
            1 => self.write(line),
            _ => self.change(line),
        }
        line
    }

    /// Bytes have flowed there, and from there.
    pub fn add(&mut self, line: Line, moved: Moved) {
        let Moved { sent, received } = moved;
        if moved == Moved::default() {
            return;
        }
        let attempt = &mut self.lines[line.0];
        attempt.sent = attempt.sent.saturating_add(sent as u64);
        attempt.received = attempt.received.saturating_add(received as u64);
        self.change(line);
    }

    /// Writes what is newer here, unless that was done a moment ago.
    pub fn flush(&mut self, now: Instant) {
        if self.changed.is_empty() || self.due().is_some_and(|due| due > now) {
            return;
        }
        self.written = Some(now);
        for line in std::mem::take(&mut self.changed) {
            self.write(line);
        }
    }

    /// When [`Attempts::flush`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        (!self.changed.is_empty()).then_some(())?;
        self.written.map(|written| written + LAG)
    }

    /// The line of what is tried, or that of all others.
    fn find(&mut self, tried: Tried, verdict: Verdict, moment: u64) -> Line {
        let side = usize::from(verdict.allows);
        let key = (tried, verdict);
        if let Some(line) = self.places.get(&key) {
            return *line;
        }
        let is_full = self.taken[side] >= MOST;
        if let (true, Some(others)) = (is_full, self.others[side]) {
            return others;
        }
        let tried = if is_full {
            Tried::Others
        } else {
            key.0.clone()
        };
        let line = Line(self.lines.len());
        self.lines.push(blank(&tried, verdict, moment));
        match is_full {
            true => self.others[side] = Some(line),
            false => {
                self.taken[side] += 1;
                self.places.insert(key, line);
            }
        }
        line
    }

    fn change(&mut self, line: Line) {
        if self.file.is_some() && !self.changed.contains(&line) {
            self.changed.push(line);
        }
    }

    fn write(&self, Line(number): Line) {
        if let (Some(file), Some(attempt)) = (&self.file, self.lines.get(number)) {
            let at = number * SLOT;
            // A full disk has no room for what is told, and is no reason to stop.
            let _lost = file.write_all_at(&attempt.to_slot(), at as u64);
        }
    }

    /// All lines.
    #[cfg(test)]
    pub fn lines(&self) -> &[Attempt] {
        &self.lines
    }
}

fn blank(tried: &Tried, verdict: Verdict, moment: u64) -> Attempt {
    let (carrier, peer, name) = match tried {
        Tried::Peer(carrier, peer) => (Some(*carrier), Some(*peer), None),
        Tried::Name(name) => (None, None, Some(plain(name))),
        Tried::Others => (None, None, None),
    };
    Attempt {
        carrier,
        peer,
        name,
        verdict,
        count: 0,
        first: moment,
        last: moment,
        sent: 0,
        received: 0,
    }
}

/// A name of the guest's, as one may show it, a byte for each character.
fn plain(name: &str) -> String {
    let shown = name.chars().map(|c| match c {
        '"' | '\\' => '?',
        c if c.is_ascii_graphic() => c,
        _ => '?',
    });
    shown.take(255).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::spec::{Egress, Why};

    fn verdict(allows: bool) -> Verdict {
        let why = Why::Rest(Egress::Public);
        Verdict { allows, why }
    }

    fn moved(sent: usize, received: usize) -> Moved {
        Moved { sent, received }
    }

    fn peer(number: u32) -> Tried {
        let address = std::net::Ipv4Addr::from(number);
        Tried::Peer(Carrier::Tcp, SocketAddr::new(address.into(), 80))
    }

    #[test]
    fn one_destination_is_one_line_for_each_verdict() {
        let mut attempts = Attempts::default();
        let line = attempts.note(peer(1), verdict(true), Some("a\"\u{fffd}\u{1b}"));
        assert_eq!(attempts.note(peer(1), verdict(true), Some("other")), line);
        attempts.add(line, moved(3, 4));
        attempts.note(peer(1), verdict(false), None);
        attempts.note(Tried::Name("a".to_owned()), verdict(false), None);
        let lines = attempts.lines();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            (lines[0].count, lines[0].sent, lines[0].received),
            (2, 3, 4)
        );
        assert_eq!(lines[0].name.as_deref(), Some("a???"));
        assert_eq!((lines[2].peer, lines[2].name.as_deref()), (None, Some("a")));
    }

    #[test]
    fn who_knocks_everywhere_takes_no_more_memory_and_hides_nothing() {
        let mut attempts = Attempts::default();
        for number in 0..100_000 {
            attempts.note(peer(number), verdict(false), None);
            attempts.note(Tried::Name(number.to_string()), verdict(false), None);
        }
        assert_eq!(attempts.lines().len(), MOST + 1);
        let others = &attempts.lines()[MOST];
        assert_eq!(others.count, 200_000 - MOST as u64);
        assert_eq!((others.peer, &others.name), (None, &None));
        let line = attempts.note(peer(7), verdict(true), None);
        attempts.add(line, moved(1, 0));
        let last = attempts.lines().last().unwrap();
        assert_eq!((last.verdict.allows, last.sent), (true, 1));
        // What has a line keeps it.
        attempts.note(peer(0), verdict(false), None);
        assert_eq!(attempts.lines()[0].count, 2);
    }

    #[test]
    fn the_file_has_what_is_new_at_once_and_what_changes_a_moment_later() {
        let mut reader = tempfile::tempfile().unwrap();
        let mut attempts = Attempts::new(Some(reader.try_clone().unwrap()));
        let mut read = || {
            let mut file = Vec::new();
            std::io::Seek::rewind(&mut reader).unwrap();
            reader.read_to_end(&mut file).unwrap();
            Attempt::from_slots(&file)
        };
        let now = Instant::now();
        let first = attempts.note(peer(1), verdict(true), None);
        attempts.note(peer(2), verdict(false), None);
        assert_eq!(read(), attempts.lines());
        assert_eq!(attempts.due(), None);
        attempts.add(first, moved(5, 0));
        attempts.flush(now);
        assert_eq!(read()[0].sent, 5);
        attempts.add(first, moved(5, 0));
        attempts.flush(now + LAG / 2);
        assert_eq!((read()[0].sent, attempts.due()), (5, Some(now + LAG)));
        attempts.flush(now + LAG);
        assert_eq!((read()[0].sent, attempts.due()), (10, None));
    }
}
