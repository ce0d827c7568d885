//! The words on the command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How to call this program, in one line.
pub const USAGE: &str = "usage: husk-probe [--suite cpu,memory,syscall,disk,net] [--dir LABEL=PATH]... [--peer IP:PORT] [--budget-ms N]";

/// Time of one probe when nobody says otherwise.
const DEFAULT_BUDGET: Duration = Duration::from_millis(200);

/// A group of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Computing.
    Cpu,
    /// Reading and writing memory.
    Memory,
    /// The kernel's own work.
    Syscall,
    /// Files.
    Disk,
    /// Sockets over loopback, and to a peer.
    Net,
}

impl Suite {
    /// Every suite, in the order in which they run.
    pub const ALL: [Self; 5] = [
        Self::Cpu,
        Self::Memory,
        Self::Syscall,
        Self::Disk,
        Self::Net,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Syscall => "syscall",
            Self::Disk => "disk",
            Self::Net => "net",
        }
    }
}

/// A directory whose file system is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What results call it: lower-case letters, digits, `-` and `_`.
    pub label: String,
    /// Where it is.
    pub path: PathBuf,
}

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// Which suites, each once, in the order of [`Suite::ALL`].
    pub suites: Vec<Suite>,
    /// Directories besides the root.
    pub dirs: Vec<Place>,
    /// Who is outside of the wall, for connections there.
    pub peer: Option<SocketAddr>,
    /// How long each probe measures.
    pub budget: Duration,
}

impl Args {
    /// Understands the words after the program's name; an error is one line about the first that is wrong.
    pub fn parse(words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut args = Self {
            suites: Suite::ALL.to_vec(),
            dirs: Vec::new(),
            peer: None,
            budget: DEFAULT_BUDGET,
        };
        let mut words = words.map(|word| {
            word.into_string()
                .map_err(|word| format!("`{}`: not UTF-8", word.to_string_lossy()))
        });
        while let Some(word) = words.next().transpose()? {
            let (flag, attached) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            if !["--suite", "--dir", "--peer", "--budget-ms"].contains(&flag) {
                return Err(format!("`{word}`: unknown word"));
            }
            let value = match attached {
                Some(value) => value,
                None => words
                    .next()
                    .transpose()?
                    .ok_or_else(|| format!("{flag} needs a value"))?,
            };
            match flag {
                "--suite" => args.suites = parse_suites(&value)?,
                "--dir" => args.add_dir(&value)?,
                "--peer" => args.peer = Some(parse_peer(&value)?),
                _ => args.budget = parse_budget(&value)?,
            }
        }
        Ok(args)
    }

    fn add_dir(&mut self, text: &str) -> Result<(), String> {
        let wrong = |why| format!("--dir `{text}`: {why}");
        let (label, path) = text
            .split_once('=')
            .ok_or_else(|| wrong("write LABEL=PATH"))?;
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if label.is_empty() || !label.chars().all(legal) {
            return Err(wrong("a label is lower-case letters, digits, - and _"));
        }
        if path.is_empty() {
            return Err(wrong("no path"));
        }
        if label == "root" || self.dirs.iter().any(|dir| dir.label == label) {
            return Err(wrong("the label is taken"));
        }
        self.dirs.push(Place {
            label: label.to_owned(),
            path: path.into(),
        });
        Ok(())
    }
}

fn parse_suites(text: &str) -> Result<Vec<Suite>, String> {
    let names: Vec<&str> = text.split(',').collect();
    let known = |name: &str| Suite::ALL.iter().any(|suite| suite.name() == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(format!("--suite: no suite `{unknown}`"));
    }
    Ok(Suite::ALL
        .into_iter()
        .filter(|suite| names.contains(&suite.name()))
        .collect())
}

fn parse_peer(text: &str) -> Result<SocketAddr, String> {
    let peer = text.parse();
    peer.map_err(|_| format!("--peer `{text}`: write IP:PORT"))
}

fn parse_budget(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds.into())),
        _ => Err(format!(
            "--budget-ms `{text}`: write a number of milliseconds, 1 or more"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, String> {
        Args::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn nothing_said_is_everything() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.suites, Suite::ALL);
        assert_eq!(args.budget, Duration::from_millis(200));
        assert!(args.dirs.is_empty());
    }

    #[test]
    fn every_word_counts() {
        let words = [
            "--suite",
            "net,cpu,net",
            "--dir",
            "vol=/data/a=b",
            "--dir=other=x",
            "--peer",
            "192.0.2.1:7",
            "--budget-ms=7",
        ];
        let args = parse(&words).unwrap();
        assert_eq!(args.suites, [Suite::Cpu, Suite::Net]);
        let places: Vec<_> = args
            .dirs
            .iter()
            .map(|dir| (dir.label.as_str(), dir.path.to_str().unwrap()))
            .collect();
        assert_eq!(places, [("vol", "/data/a=b"), ("other", "x")]);
        assert_eq!(args.peer, Some(([192, 0, 2, 1], 7).into()));
        assert_eq!(args.budget, Duration::from_millis(7));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong: [(&[&str], &str); 12] = [
            (&["cpu"], "`cpu`"),
            (&["--suite"], "--suite needs"),
            (&["--suite", "cpu,gpu"], "`gpu`"),
            (&["--suite", ""], "no suite ``"),
            (&["--dir", "/data"], "LABEL=PATH"),
            (&["--dir", "a b=/data"], "label"),
            (&["--dir", "=/data"], "label"),
            (&["--dir", "a="], "no path"),
            (&["--dir", "root=/data"], "taken"),
            (&["--dir", "a=/b", "--dir", "a=/c"], "taken"),
            (&["--peer", "localhost:7"], "IP:PORT"),
            (&["--budget-ms", "0"], "--budget-ms"),
        ];
        for (words, part) in wrong {
            let problem = parse(words).unwrap_err();
            assert!(problem.contains(part), "{words:?}: {problem}");
        }
    }
}
