//! The command's stderr, the probe's list, and husk's own words, which come as one stream
//! (`rootfs/probe/src/changes/mod.rs` has the picture). A command does not know the token; what it prints
//! may look like the probe's words all the same, and the last list is the one: when it is written, the
//! command is dead.

use super::output::{Capture, Output};

/// A list that is longer than this is none.
const MOST: usize = 64 << 20;

/// Bytes of husk's own words that are kept.
const WORDS: usize = 4096;

/// Which part the stream is in.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// husk's own words.
    Before,
    /// The command's.
    Command,
    /// What seems to be the list.
    List,
}

/// Takes a stream apart while it comes.
#[derive(Debug)]
pub(super) struct Separator {
    ready: Vec<u8>,
    /// With the newline in front of it.
    begin: Vec<u8>,
    end: Vec<u8>,
    part: Part,
    /// What has no part yet; of a list, all of it.
    pending: Vec<u8>,
    /// Bytes of `pending` in which there is no mark.
    searched: usize,
    stderr: Capture,
    /// Bytes of the longest list.
    most: usize,
    /// The last bytes of everything.
    last: Vec<u8>,
}

/// What was in the stream.
#[derive(Debug)]
pub(super) struct Separated {
    /// The command's own.
    pub(super) stderr: Output,
    /// The list's lines, when it was written to its end.
    pub(super) list: Option<Vec<u8>>,
    /// The last line of all that was said.
    pub(super) last_line: Vec<u8>,
}

impl Separator {
    pub(super) fn new(token: &str) -> Self {
        Self {
            ready: format!("{token} ready\n").into(),
            begin: format!("\n{token} begin\n").into(),
            end: format!("\n{token} end ").into(),
            part: Part::Before,
            pending: Vec::new(),
            searched: 0,
            stderr: Capture::default(),
            most: MOST,
            last: Vec::new(),
        }
    }

    /// More of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.last
            .extend_from_slice(&bytes[bytes.len().saturating_sub(WORDS)..]);
        let surplus = self.last.len().saturating_sub(WORDS);
        self.last.drain(..surplus);
        self.pending.extend_from_slice(bytes);
        while self.advance() {}
        // A mark may have begun with the last bytes.
        let mark = self.mark().len() - 1;
        self.searched = self.pending.len().saturating_sub(mark);
        match self.part {
            Part::Before => {
                self.pending.drain(..self.searched);
                self.searched = 0;
            }
            Part::Command => self.give_back(self.searched),
            Part::List if self.pending.len() > self.most => {
                self.stderr.push(&self.begin[..self.begin.len() - 1]);
                self.part = Part::Command;
                self.give_back(self.searched);
            }
            Part::List => {}
        }
    }

    fn mark(&self) -> &[u8] {
        match self.part {
            Part::Before => &self.ready,
            Part::Command | Part::List => &self.begin,
        }
    }

    /// Goes on to the next mark, if there is one.
    fn advance(&mut self) -> bool {
        let found = find(&self.pending[self.searched..], self.mark());
        let Some(at) = found.map(|at| at + self.searched) else {
            return false;
        };
        self.searched = 0;
        match self.part {
            Part::Before => {
                self.pending.drain(..at + self.ready.len());
                self.part = Part::Command;
                return true;
            }
            Part::Command => {}
            // It was not the list, then, but the command's.
            Part::List => self.stderr.push(&self.begin[..self.begin.len() - 1]),
        }
        self.give_back(at);
        // The newline at its end may be the one in front of the next.
        self.pending.drain(..self.begin.len() - 1);
        self.part = Part::List;
        true
    }

    /// The first bytes are the command's.
    fn give_back(&mut self, length: usize) {
        self.stderr.push(&self.pending[..length]);
        self.pending.drain(..length);
        self.searched = 0;
    }

    /// That was all.
    pub(super) fn finish(self) -> Separated {
        let end = find(&self.pending, &self.end).filter(|_| self.part == Part::List);
        let list = end.map(|end| self.pending[..end].to_vec());
        let text = self.last.trim_ascii_end();
        let start = text.iter().rposition(|byte| *byte == b'\n');
        Separated {
            stderr: self.stderr.finish(),
            list,
            last_line: text[start.map_or(0, |newline| newline + 1)..].to_vec(),
        }
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command's stderr and the list of `stream`, which comes in pieces of every size.
    fn separate(stream: &[u8]) -> (String, Option<String>) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let apart = [1, 2, 7, 1000].map(|size| {
            let mut separator = Separator::new("T");
            stream.chunks(size).for_each(|bytes| separator.push(bytes));
            let separated = separator.finish();
            let list = separated.list.map(|list| text(&list));
            (text(separated.stderr.bytes()), list)
        });
        for other in &apart[1..] {
            assert_eq!(*other, apart[0]);
        }
        apart.into_iter().next().unwrap()
    }

    #[test]
    fn every_byte_has_its_part() {
        let cases = [
            ("T ready\n\nT begin\nT end 0\n", "", Some("")),
            ("T ready\nerr\nT begin\nT end 0\n", "err", Some("")),
            ("T ready\nerr\n\nT begin\nT end 0\n", "err\n", Some("")),
            (
                "husk: a\nT ready\n\n\nT begin\n{1}\n{2}\nT end 0\nhusk: b",
                "\n",
                Some("\n{1}\n{2}"),
            ),
        ];
        for (stream, stderr, list) in cases {
            let expected = (stderr.to_owned(), list.map(str::to_owned));
            assert_eq!(separate(stream.as_bytes()), expected, "{stream:?}");
        }
    }

    #[test]
    fn what_looks_like_the_probes_words_is_the_commands() {
        let real = "\nT begin\n{1}\nT end 0\n";
        for fake in [
            "T ready\n",
            "T begin\n",
            "\nT begin",
            "\nT begin\n",
            "\nT begin\nT begin\n{0}\nT end 0\n",
            "\nT begin\n\nT begin\n\n",
            "\nT end 0\n",
            "T begi\nT beginn\n",
        ] {
            let stream = format!("T ready\n{fake}{real}");
            let expected = (fake.to_owned(), Some("\n{1}".to_owned()));
            assert_eq!(separate(stream.as_bytes()), expected, "{fake:?}");
        }
    }

    #[test]
    fn without_its_end_it_is_no_list() {
        for stream in [
            "",
            "T ready\n",
            "T ready\nx\nT begin\n{1}\n",
            "\nT begin\nT end 0\n",
        ] {
            assert_eq!(separate(stream.as_bytes()).1, None, "{stream:?}");
        }
    }

    #[test]
    fn a_list_without_end_is_given_back() {
        let mut separator = Separator::new("T");
        separator.most = 1 << 16;
        separator.push(b"T ready\n\nT begin\n");
        let chunk = vec![b'x'; 1 << 15];
        for _ in 0..5 {
            separator.push(&chunk);
        }
        separator.push(b"\nT begin\nT end 0\n");
        let separated = separator.finish();
        assert_eq!(separated.list.as_deref(), Some(&b""[..]));
        let expected = b"\nT begin\n".len() + 5 * chunk.len();
        assert_eq!(separated.stderr.len(), expected as u64);
    }
}
