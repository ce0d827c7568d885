//! The processes of a machine, as its own /proc has them (proc(5)), for who asks from outside: a record each.
//!
//! ```text
//!  PID PPID TTY CPU AGE USER ⇥ COMMAND ␀       numbers and names as text; CPU and AGE in milliseconds
//! ```
//!
//! Neither the kernel's own threads nor husk's own programs are among them.

use std::fs;
use std::path::Path;

use crate::user;

/// Ticks in a second, of times in /proc (USER_HZ).
const TICKS: u64 = 100;

/// Marks a thread of the kernel's (linux/sched.h, PF_KTHREAD).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Running {
    /// Its number in the machine.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// The device number of its terminal; 0 is none.
    pub terminal: u32,
    /// Processor time, milliseconds.
    pub cpu: u64,
    /// How long ago it started, milliseconds.
    pub age: u64,
    /// Who runs it: a name of the image's, or a number.
    pub user: Vec<u8>,
    /// Its words, or where it has none its name in brackets.
    pub command: Vec<u8>,
}

impl Running {
    /// The record of it.
    pub fn write(&self) -> Vec<u8> {
        let Self {
            pid,
            parent,
            terminal,
            cpu,
            age,
            user,
            command,
        } = self;
        let numbers = format!("{pid} {parent} {terminal} {cpu} {age} ");
        [numbers.as_bytes(), user, b"\t", command, b"\0"].concat()
    }

    /// What a record without its last zero says; none if it is no record.
    pub fn read(record: &[u8]) -> Option<Self> {
        let mut halves = record.splitn(2, |byte| *byte == b'\t');
        let mut words = halves.next()?.splitn(6, |byte| *byte == b' ');
        let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
        let mut id = || u32::try_from(number()?).ok();
        let (pid, parent, terminal) = (id()?, id()?, id()?);
        let (cpu, age) = (number()?, number()?);
        Some(Self {
            pid,
            parent,
            terminal,
            cpu,
            age,
            user: words.next()?.to_vec(),
            command: halves.next()?.to_vec(),
        })
    }
}

/// All of them, by their numbers; one that ends meanwhile may be missing.
#[cold]
pub fn all() -> Vec<Running> {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime = milliseconds(uptime.split(' ').next().unwrap_or_default());
    // In a guest this process and its parent are husk's; in a container it is nobody.
    let own: Option<u32> = fs::read_link("/proc/self")
        .ok()
        .and_then(|own| number(&own));
    let init = own.and_then(|own| look(own, uptime)).map(|own| own.parent);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| number(Path::new(&entry.file_name())));
    let pids = pids.filter(|pid| Some(*pid) != own && Some(*pid) != init);
    pids.filter_map(|pid| look(pid, uptime)).collect()
}

/// Threads of all processes but init and the kernel's own.
#[cold]
pub fn threads() -> u32 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| number(Path::new(&entry.file_name())));
    let counts = pids.filter(|pid| *pid != 1).filter_map(|pid| {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        threads_of(&stat)
    });
    counts.sum()
}

/// Threads of the process of a `stat`; none for one of the kernel's.
fn threads_of(stat: &[u8]) -> Option<u32> {
    // The name is in parentheses, and may have anything in it. Behind it are the fields from the third.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse().ok();
    let flags: u64 = field(9)?;
    if flags & KERNEL_THREAD != 0 {
        return None;
    }
    u32::try_from(field(20)?).ok()
}

/// The kernel's own threads as far as they are told at once, in the order of their numbers: who has to look at everybody else has
/// less to look at.
#[cold]
pub fn kernels() -> Vec<u32> {
    let children = fs::read_to_string("/proc/2/task/2/children").unwrap_or_default();
    let children = children.split_ascii_whitespace().map(str::parse);
    let mut all: Vec<_> = children.flatten().chain([2]).collect();
    all.sort_unstable();
    all
}

/// Whether it is there, and none of the kernel's own threads.
#[cold]
pub fn is_somebody(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| threads_of(&stat).is_some())
}

fn number(name: &Path) -> Option<u32> {
    name.to_str()?.parse().ok()
}

/// `12.34`, seconds.
fn milliseconds(seconds: &str) -> u64 {
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let part = part.parse::<u64>().unwrap_or(0) * 10;
    whole.parse::<u64>().unwrap_or(0) * 1000 + part
}

/// One process; none if it is gone, or a thread of the kernel's.
fn look(pid: u32, uptime: u64) -> Option<Running> {
    let file = |name: &str| fs::read(format!("/proc/{pid}/{name}"));
    let stat = file("stat").ok()?;
    // The name is in parentheses, and may have anything in it. Behind it are the fields from the third.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let name_start = stat.iter().position(|byte| *byte == b'(')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let fields: Vec<_> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    if field(9)? & KERNEL_THREAD != 0 {
        return None;
    }
    let status = file("status").ok()?;
    let status = String::from_utf8_lossy(&status);
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let uid = uid?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let mut command = file("cmdline").unwrap_or_default();
    while command.last() == Some(&0) {
        command.pop();
    }
    if command.is_empty() {
        command = [b"[", &stat[name_start + 1..name_end], b"]"].concat();
    }
    command
        .iter_mut()
        .filter(|byte| **byte == 0)
        .for_each(|byte| *byte = b' ');
    Some(Running {
        pid,
        parent: u32::try_from(field(4)?).ok()?,
        // A negative number is none, too.
        terminal: field(7)
            .and_then(|tty| u32::try_from(tty).ok())
            .unwrap_or(0),
        cpu: (field(14)? + field(15)?) * 1000 / TICKS,
        age: uptime.saturating_sub(field(22)? * 1000 / TICKS),
        user: user::name_of(uid),
        command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let one = Running {
            pid: 7,
            parent: 1,
            terminal: 34816,
            cpu: 1230,
            age: 99,
            user: b"www data".to_vec(),
            command: b"sh -c\techo \xff".to_vec(),
        };
        let record = one.write();
        assert_eq!(Running::read(&record[..record.len() - 1]), Some(one));
        for wrong in [&b""[..], b"1 2 3", b"1 2 3 4 5 root", b"x 2 3 4 5 root\tsh"] {
            assert_eq!(Running::read(wrong), None);
        }
    }

    #[test]
    fn threads_are_counted_but_not_the_kernels() {
        let stat =
            |flags: u64| format!("7 (a) b) S 1 7 7 0 -1 {flags} 0 0 0 0 1 2 3 4 20 0 5 0 900 0 0");
        assert_eq!(threads_of(stat(0x40_0100).as_bytes()), Some(5));
        assert_eq!(threads_of(stat(0x20_8040).as_bytes()), None);
        assert_eq!(threads_of(b"7 (a"), None);
    }

    #[test]
    fn a_process_is_somebody_until_it_is_gone() {
        assert!(is_somebody(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(!is_somebody(child.id()));
    }

    #[test]
    fn a_child_is_seen_with_its_words_and_its_parent() {
        let mut command = std::process::Command::new("sleep");
        let mut child = command.args(["100", "--"]).spawn().unwrap();
        let mut seen = None;
        while seen
            .as_ref()
            .is_none_or(|seen: &Running| !seen.command.starts_with(b"sleep"))
        {
            seen = look(child.id(), u64::MAX);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let seen = seen.unwrap();
        assert_eq!(seen.command, b"sleep 100 --");
        assert_eq!(seen.parent, std::process::id());
        assert_eq!(look(child.id(), 0), None);
    }

    #[test]
    fn seconds_are_milliseconds() {
        assert_eq!(milliseconds("12.34"), 12_340);
        assert_eq!(milliseconds(""), 0);
    }
}
