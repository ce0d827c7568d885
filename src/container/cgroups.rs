//! Control groups: what this host has of them, and the container's own.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{StatVfsMountFlags, statfs, statvfs};

use crate::spec::{Asked, Missing};

/// Where they are mounted.
pub const ROOT: &str = "/sys/fs/cgroup";

/// The file system of the unified tree (linux/magic.h).
pub const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// The group below which husk's containers have theirs.
const PARENT: &str = "husk";

/// What containers are limited by: no other controller of the unified tree is handed down to them. Each
/// one makes a group longer to create and to remove.
const USED: [&str; 2] = ["cpu", "memory"];

/// What only some of them are limited by, who asked for it.
const TASKS: &str = "pids";
const CPUSET: &str = "cpuset";
const IO: &str = "io";

/// What a group of the unified tree hands down to those below it (cgroups(7)).
const HANDED_DOWN: &str = "cgroup.subtree_control";

/// Who is in a group.
const PROCESSES: &str = "cgroup.procs";

/// How this host counts and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One tree of all controllers.
    Unified,
    /// A tree per controller.
    PerController,
    /// None that we may use.
    Absent,
}

/// What the container's group can do.
#[derive(Debug, Clone, Copy)]
pub struct Cgroups {
    /// How.
    pub kind: Kind,
    /// `--memory` is enforced.
    pub memory: bool,
    /// Swap is counted apart.
    pub swap: bool,
    /// `--cpus` is enforced.
    pub cpu: bool,
    /// `--cpuset-cpus` is enforced, where somebody asked for it.
    pub cpuset: bool,
    /// `--pids-limit` is enforced, where somebody asked for it.
    pub tasks: bool,
    /// `--device-read-bps` and its like are enforced, where somebody asked for them.
    pub rates: bool,
    /// Devices are told apart.
    pub devices: bool,
}

impl Cgroups {
    /// What this host lets us use of what is `asked` for.
    pub fn find(rootless: bool, asked: Asked) -> Self {
        let kind = if rootless || !is_writable() {
            Kind::Absent
        } else if statfs(ROOT).is_ok_and(|stat| stat.f_type == CGROUP2_MAGIC) {
            Kind::Unified
        } else {
            Kind::PerController
        };
        let has = |file: &str| Path::new(ROOT).join(file).exists();
        let controllers = match kind {
            Kind::Unified => hand_down(asked),
            Kind::PerController | Kind::Absent => String::new(),
        };
        let unified = |name: &str| lists(&controllers, name);
        let each = |name: &str| match kind {
            Kind::Unified => unified(name),
            Kind::PerController => has(name),
            Kind::Absent => false,
        };
        Self {
            kind,
            memory: each("memory"),
            swap: match kind {
                Kind::Unified => has(&format!("{PARENT}/memory.swap.max")),
                Kind::PerController => has("memory/memory.memsw.limit_in_bytes"),
                Kind::Absent => false,
            },
            cpu: each("cpu"),
            cpuset: each(CPUSET),
            tasks: each(TASKS),
            rates: match kind {
                Kind::Unified => unified(IO),
                Kind::PerController => has("blkio/blkio.throttle.read_bps_device"),
                Kind::Absent => false,
            },
            // The unified tree has no such controller: a filter takes its place, which is not made here.
            devices: kind == Kind::PerController && has("devices"),
        }
    }

    /// What it cannot do.
    pub fn missing(&self, asked: Asked) -> Vec<Missing> {
        let why = match self.kind {
            Kind::Absent => "control groups are not ours to use here",
            _ => "this host lacks the control group",
        };
        let lacks = [
            (self.memory, asked.memory, "--memory"),
            (self.cpu, asked.cpus, "--cpus"),
            // Without being asked for there are no such limits.
            (self.cpuset || !asked.cpuset, true, "--cpuset-cpus"),
            (self.tasks || !asked.tasks, true, "--pids-limit"),
            (self.rates || !asked.rates, true, "--device-…"),
        ];
        let lacks = lacks.into_iter().filter(|(has, ..)| !has);
        let lacks = lacks.map(|(_, asked, flag)| Missing {
            text: format!("{why}: {flag} of a container is not enforced"),
            asked,
        });
        lacks.collect()
    }
}

/// The group of the container `id`, from the root of each tree.
pub fn path(id: &str) -> String {
    format!("/{PARENT}/{id}")
}

/// Makes the group of the container `id` in the unified tree, before a runtime does: it would hand every
/// controller of the host down to it.
pub fn make(id: &str) {
    // Where it cannot be made, the runtime says why.
    let _told_later = fs::create_dir(below(Path::new(ROOT), id));
}

/// Has the unified tree hand down what it can of the controllers that are used for what is `asked`, as far as husk's
/// containers; which ones it does. What is handed down already is not asked for again: the kernel
/// would wait for groups that are on their way out.
pub fn hand_down(asked: Asked) -> String {
    let parent = Path::new(ROOT).join(PARENT);
    // There already, or it cannot be made, and the runtime says why.
    let _told_later = fs::create_dir(&parent);
    for group in [Path::new(ROOT), &parent] {
        let file = group.join(HANDED_DOWN);
        let given = fs::read_to_string(&file).unwrap_or_default();
        let wanted = [
            (asked.tasks, TASKS),
            (asked.cpuset, CPUSET),
            (asked.rates, IO),
        ];
        let wanted = wanted
            .iter()
            .filter_map(|(asked, name)| asked.then_some(*name));
        let used = USED.into_iter().chain(wanted);
        for name in used.filter(|name| !lists(&given, name)) {
            // Absent, or not ours to give: it is missing from what is read below.
            let _not_given = fs::write(&file, format!("+{name}"));
        }
    }
    fs::read_to_string(parent.join(HANDED_DOWN)).unwrap_or_default()
}

/// Whether a line of controllers has `name`.
fn lists(controllers: &str, name: &str) -> bool {
    controllers.split_ascii_whitespace().any(|one| one == name)
}

/// Removes the groups of the container `id`, once its last process is gone.
pub fn remove(id: &str) {
    for group in groups(id) {
        // A process that was killed leaves its group when it is buried.
        for _ in 0..50 {
            match fs::remove_dir(&group) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    sleep(Duration::from_millis(10));
                }
                _ => break,
            }
        }
    }
}

/// What is written to for a process to join the groups of the container `id`.
pub fn doors(id: &str) -> io::Result<Vec<OwnedFd>> {
    let open = |group: PathBuf| File::options().write(true).open(group.join(PROCESSES));
    let doors = groups(id).into_iter().map(open);
    doors.map(|door| Ok(door?.into())).collect()
}

fn groups(id: &str) -> Vec<PathBuf> {
    let trees = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let trees = trees.map(|tree| below(&tree.path(), id));
    let all = [below(Path::new(ROOT), id)].into_iter().chain(trees);
    all.filter(|group| group.is_dir()).collect()
}

fn below(tree: &Path, id: &str) -> PathBuf {
    tree.join(PARENT).join(id)
}

fn is_writable() -> bool {
    statvfs(ROOT).is_ok_and(|stat| !stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}
