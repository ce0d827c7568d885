//! Everything in the machine stands still while one program works: what a commit reads is of one moment.
//!
//! ```text
//!  cgroup2, mounted apart      /                  init, and this program: they go on
//!                              ├ husk-halted      frozen; everybody else of / is moved here, and back before it goes
//!                              └ what was there   frozen meanwhile, where it was not
//! ```
//!
//! The kernel's freezer sends no signal, and a parent sees no child stopped. Who is moved stands when it arrives, and goes on when
//! it is back, so that nobody ever runs there. Init begins no command meanwhile, so that it has no child which is
//! still its own memory; and where the program does not come to its end, init lets everybody go on.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process;
use std::thread::sleep;
use std::time::{Duration, Instant};

use husk_init::archive::program::Halt;
use husk_init::processes;
use husk_init::sys::mount::Detached;

/// How long it may take until everybody stands, or is back.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked whether somebody stands.
const OFTEN: Duration = Duration::from_millis(2);

/// The group of who is halted.
const GROUP: &str = "husk-halted";

/// Does `work` while everything else stands still; its exit status.
#[cold]
pub fn around(halt: Halt, work: impl FnOnce() -> u8) -> u8 {
    let halted = match (Halted::begin(), halt) {
        (Ok(halted), _) => Some(halted),
        (Err(error), Halt::InAnyCase) => {
            complain(&format!("its processes cannot be halted ({error})"));
            return 1;
        }
        (Err(error), _) => {
            complain(&format!(
                "its processes go on meanwhile: they cannot be halted ({error})"
            ));
            None
        }
    };
    let status = work();
    drop(halted);
    status
}

fn complain(text: &str) {
    // Nobody is left to tell.
    let _closed = writeln!(io::stderr(), "{text}");
}

/// Lets everybody go on that a program which is dead has halted.
#[cold]
pub fn let_go() {
    // Without a mount there was none before.
    let Ok(mut halted) = Halted::mount() else {
        return;
    };
    // Which of the machine's own groups stood before, only the dead program knew.
    halted.others = halted.groups().unwrap_or_default();
}

/// Everybody else, as long as they stand still.
struct Halted {
    /// The mount.
    _tree: Detached,
    root: PathBuf,
    group: PathBuf,
    /// Groups of the machine's own that stand only because of us.
    others: Vec<PathBuf>,
}

impl Halted {
    /// Halts them.
    fn begin() -> io::Result<Self> {
        let mut halted = Self::mount()?;
        match fs::create_dir(&halted.group) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        halted.halt(Instant::now() + PATIENCE)?;
        Ok(halted)
    }

    /// Nobody yet.
    fn mount() -> io::Result<Self> {
        let tree = Detached::new(c"cgroup2")?;
        let root = PathBuf::from(format!("/proc/self/fd/{}", tree.root().as_raw_fd()));
        Ok(Self {
            _tree: tree,
            group: root.join(GROUP),
            root,
            others: Vec::new(),
        })
    }

    /// Goes on until nobody is left, and all stand: who was not halted yet may have had children.
    fn halt(&mut self, deadline: Instant) -> io::Result<()> {
        freeze(&self.group, true)?;
        loop {
            let is_new = self.gather()? | self.halt_others()?;
            if !is_new && self.stand() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !is_new {
                sleep(OFTEN);
            }
        }
    }

    /// Moves everybody of the root who is neither the kernel's nor husk's; whether there was somebody.
    fn gather(&self) -> io::Result<bool> {
        let kernels = processes::kernels();
        let is_else =
            |pid: &u32| *pid != 1 && *pid != process::id() && kernels.binary_search(pid).is_err();
        let mut found = false;
        // The youngest first: who has children all the time has soon no more.
        for pid in members(&self.root)?.into_iter().rev().filter(is_else) {
            if processes::is_somebody(pid) {
                found |= move_to(&self.group, pid)?;
            }
        }
        Ok(found)
    }

    /// Halts the groups that the machine made itself; whether there was one that did not stand.
    fn halt_others(&mut self) -> io::Result<bool> {
        let mut found = false;
        for path in self.groups()? {
            let is_free = fs::read(path.join(ORDER)).is_ok_and(|order| order == b"0\n");
            if !is_free {
                continue;
            }
            match freeze(&path, true) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                written => written?,
            }
            self.others.push(path);
            found = true;
        }
        Ok(found)
    }

    /// The groups that the machine made itself, in the root.
    fn groups(&self) -> io::Result<Vec<PathBuf>> {
        let mut groups = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.path() != self.group {
                groups.push(entry.path());
            }
        }
        Ok(groups)
    }

    fn stand(&self) -> bool {
        let mut all = self.others.iter().chain([&self.group]);
        all.all(
            |group| match fs::read_to_string(group.join("cgroup.events")) {
                Ok(events) => events.lines().any(|line| line == "frozen 1"),
                // Removed meanwhile, by who was not halted yet.
                Err(_) => group != &self.group,
            },
        )
    }

    fn move_back(&self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pids = members(&self.group)?;
            if pids.is_empty() || Instant::now() > deadline {
                return Ok(());
            }
            for pid in pids {
                move_to(&self.root, pid)?;
            }
        }
    }
}

/// Everybody goes on, where they were.
impl Drop for Halted {
    fn drop(&mut self) {
        // Who cannot be moved back goes on all the same.
        let _moved = self.move_back();
        let _goes_on = freeze(&self.group, false);
        let _kept = fs::remove_dir(&self.group);
        for other in &self.others {
            let _goes_on = freeze(other, false);
        }
    }
}

/// The file of a group by which it is halted.
const ORDER: &str = "cgroup.freeze";

fn freeze(group: &Path, halted: bool) -> io::Result<()> {
    fs::write(group.join(ORDER), if halted { "1" } else { "0" })
}

/// The processes of a group, in the order of their numbers.
fn members(group: &Path) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(group.join("cgroup.procs"))?;
    let mut pids: Vec<_> = text.lines().filter_map(|line| line.parse().ok()).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Moves a process; false if it is gone.
fn move_to(group: &Path, pid: u32) -> io::Result<bool> {
    match fs::write(group.join("cgroup.procs"), pid.to_string()) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        written => written.map(|()| true),
    }
}
