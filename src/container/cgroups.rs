//! Control groups: what this host has of them, and the container's own.

use std::fs;
use std::io;
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
    /// Devices are told apart.
    pub devices: bool,
}

impl Cgroups {
    /// What this host lets us use.
    pub fn find(rootless: bool) -> Self {
        let kind = if rootless || !is_writable() {
            Kind::Absent
        } else if statfs(ROOT).is_ok_and(|stat| stat.f_type == CGROUP2_MAGIC) {
            Kind::Unified
        } else {
            Kind::PerController
        };
        let has = |file: &str| Path::new(ROOT).join(file).exists();
        let controllers = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers"));
        let controllers = controllers.unwrap_or_default();
        let unified = |name: &str| controllers.split_ascii_whitespace().any(|one| one == name);
        let each = |name: &str| match kind {
            Kind::Unified => unified(name),
            Kind::PerController => has(name),
            Kind::Absent => false,
        };
        Self {
            kind,
            memory: each("memory"),
            swap: match kind {
                Kind::Unified => unified("memory"),
                Kind::PerController => has("memory/memory.memsw.limit_in_bytes"),
                Kind::Absent => false,
            },
            cpu: each("cpu"),
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

fn groups(id: &str) -> Vec<PathBuf> {
    let below = path(id);
    let below = below.trim_start_matches('/');
    let trees = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let trees = trees.map(|tree| tree.path().join(below));
    let all = [Path::new(ROOT).join(below)].into_iter().chain(trees);
    all.filter(|group| group.is_dir()).collect()
}

fn is_writable() -> bool {
    statvfs(ROOT).is_ok_and(|stat| !stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}
