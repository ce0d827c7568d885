//! What the kernel says of processes (proc(5)): who is whose child, and what they have used.

use std::fs;
use std::time::Duration;

/// What a process and everything below it have used, and have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time, of the ended and buried ones too.
    pub cpu: Duration,
    /// Proportional set size, bytes.
    pub memory: u64,
    /// Tasks: processes and threads.
    pub tasks: u64,
    /// Bytes from disks.
    pub read: u64,
    /// Bytes to disks.
    pub written: u64,
}

/// A process and everything below it.
pub fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children.split_ascii_whitespace();
            found.extend(children.filter_map(|pid| pid.parse::<u32>().ok()));
        }
        next += 1;
    }
    found
}

/// The proportional set size of a process, bytes; `None` when it is gone.
pub fn proportional_size(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(
        field(&rollup, "Pss:")?
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()?
            << 10,
    )
}

/// What the tree below `root` has used by now. What ends meanwhile counts as far as it was seen.
pub fn usage(root: u32) -> Usage {
    tree(root).into_iter().fold(Usage::default(), |sum, pid| {
        let (cpu, tasks) = times(pid).unwrap_or_default();
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let bytes = |name| {
            field(&io, name)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        Usage {
            cpu: sum.cpu + cpu,
            memory: sum.memory + proportional_size(pid).unwrap_or(0),
            tasks: sum.tasks + tasks,
            read: sum.read + bytes("read_bytes:"),
            written: sum.written + bytes("write_bytes:"),
        }
    })
}

/// Processor time and tasks of a process.
fn times(pid: u32) -> Option<(Duration, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses, and may have anything in it. Behind it are the fields from the third.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    // utime, stime, cutime, cstime.
    let ticks = field(14)? + field(15)? + field(16)? + field(17)?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some((
        Duration::from_nanos(ticks * (1_000_000_000 / per_second)),
        field(20)?,
    ))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_counts_with_its_children() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let child_pid = child.id();
        while proportional_size(child_pid).is_none_or(|size| size == 0) {}
        let (own, all) = (usage(child_pid), usage(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            own.memory > 0 && all.memory > own.memory,
            "{all:?} with {own:?}"
        );
        assert!(own.tasks == 1 && all.tasks > 1, "{all:?} with {own:?}");
        assert_eq!(proportional_size(child_pid), None);
    }

    #[test]
    fn fields_are_read_by_their_whole_name() {
        let text = "Pss:                 120 kB\nPss_Dirty:  7 kB\n";
        assert_eq!(field(text, "Pss:"), Some("120 kB"));
        assert_eq!(field(text, "Rss:"), None);
    }
}
