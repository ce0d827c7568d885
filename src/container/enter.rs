//! The first step, while this process has one thread: out of the host's mounts and network, and for an
//! ordinary user into a user namespace in which they are root.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::parent_id;
use std::process::{Command, Stdio};

use husk_init::sys::socket::loopback_up;
use rustix::fs::{MemfdFlags, XattrFlags, fsetxattr, memfd_create};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{getegid, geteuid};

use super::binary;
use super::cgroups::{self, CGROUP2_MAGIC};
use super::error::Error;
use super::far_end::FarEnd;
use crate::spec::Missing;
use crate::sys::fork::{fork, keep_only};
use crate::sys::namespaces;

/// Programs that give a user the ids of `/etc/subuid` and `/etc/subgid` (newuidmap(1)).
const MAPPERS: [(&str, &str); 2] = [("newuidmap", "/etc/subuid"), ("newgidmap", "/etc/subgid")];

/// The new surroundings.
#[derive(Debug)]
pub struct Entered {
    /// Whether they are those of an ordinary user.
    pub rootless: bool,
    /// How many ids the container has: users and groups below this number exist.
    pub ids: u32,
    /// Whether the writable layer of an overlay can be in memory.
    pub overlays_in_memory: bool,
    /// husk's own program, as it may be seen in the container; none from a kernel that is too old for it.
    pub program: Option<OwnedFd>,
    /// What this host does not give.
    pub missing: Vec<Missing>,
    /// The far end of the container's network, if it has one.
    pub network: Option<FarEnd>,
}

/// A user's range of subordinate ids (subuid(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

/// Enters them. The process must have one thread.
pub fn enter() -> Result<Entered, Error> {
    let rootless = !geteuid().is_root();
    let mut missing = Vec::new();
    let mut ids = u32::MAX;
    if rootless {
        ids = enter_users(&mut missing)?;
    } else {
        namespaces::leave(false).map_err(|source| Error::Namespaces {
            what: "mount and network namespaces",
            source,
        })?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|errno| Error::Namespaces {
        what: "mounts of one's own",
        source: errno.into(),
    })?;
    if rootless {
        show_unified_cgroups();
    }
    // Descriptors that a service was started with are not for the container.
    namespaces::forget_variable("LISTEN_FDS").map_err(Error::Process)?;
    loopback_up().map_err(|errno| Error::Namespaces {
        what: "loopback interface",
        source: errno.into(),
    })?;
    Ok(Entered {
        rootless,
        ids,
        overlays_in_memory: !rootless || memory_keeps_attributes(),
        // Now, because a husk that is replaced meanwhile is not found by its name any more.
        program: binary::open().ok(),
        missing,
        network: None,
    })
}

/// Whether files in memory have attributes of users, in which an ordinary user's overlay keeps its notes:
/// not before Linux 6.6.
fn memory_keeps_attributes() -> bool {
    let file = memfd_create("attributes", MemfdFlags::CLOEXEC);
    file.is_ok_and(|file| fsetxattr(file, "user.husk", &[], XattrFlags::empty()).is_ok())
}

/// A user namespace with the user as its root, and the user's subordinate ids as its others; how many
/// ids there are.
fn enter_users(missing: &mut Vec<Missing>) -> Result<u32, Error> {
    let failed = |source| Error::Namespaces {
        what: "user namespaces",
        source,
    };
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let name = user_name(uid);
    let ranges = MAPPERS.map(|(_, file)| {
        let text = fs::read_to_string(file).unwrap_or_default();
        find_range(&text, &name, uid)
    });
    let [Some(users), Some(groups)] = ranges else {
        missing.push(root_only(&format!(
            "`{name}` has no range in /etc/subuid and /etc/subgid"
        )));
        namespaces::leave(true).map_err(failed)?;
        namespaces::map_one(uid, gid).map_err(failed)?;
        return Ok(1);
    };
    let (mut entered, tell_entered) = io::pipe().map_err(Error::Process)?;
    // Only somebody outside a user namespace may name its users.
    let mapper = fork(|| {
        keep_only(&[entered.as_fd()]).is_ok()
            && entered.read_exact(&mut [0]).is_ok()
            && map(parent_id(), [(uid, users), (gid, groups)])
    });
    let mapper = mapper.map_err(Error::Process)?;
    namespaces::leave(true).map_err(failed)?;
    (&tell_entered).write_all(&[0]).map_err(Error::Process)?;
    if mapper.wait().map_err(Error::Process)? {
        return Ok(users.count.min(groups.count).saturating_add(1));
    }
    missing.push(root_only("newuidmap and newgidmap do not work here"));
    namespaces::map_one(uid, gid).map_err(failed)?;
    Ok(1)
}

fn root_only(why: &str) -> Missing {
    Missing {
        text: format!("{why}: the container has no user but root"),
        asked: false,
    }
}

/// Has both programs map 0 to the user itself, and 1 and what follows to its range.
fn map(process: u32, ids: [(u32, Range); 2]) -> bool {
    MAPPERS.iter().zip(ids).all(|((program, _), (own, range))| {
        let numbers = [process, 0, own, 1, 1, range.first, range.count];
        let words = numbers.map(|number| number.to_string());
        let status = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    })
}

/// The user's first range: a line of `NAME|UID:FIRST:COUNT`.
fn find_range(text: &str, name: &str, uid: u32) -> Option<Range> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let mut number = || fields.next()?.trim().parse().ok();
        let range = Range {
            first: number()?,
            count: number()?,
        };
        (owner == name || owner == uid.to_string()).then_some(range)
    })
}

/// The user's name by /etc/passwd, or its number.
fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}

/// Where control groups are of the old kind, an ordinary user may use none, and a runtime would fail
/// to; the unified tree, in its place, it can at least look at.
fn show_unified_cgroups() {
    let unified = rustix::fs::statfs(cgroups::ROOT).is_ok_and(|stat| stat.f_type == CGROUP2_MAGIC);
    if !unified {
        // Without it the runtime says what it misses.
        let _absent = mount(
            "cgroup2",
            cgroups::ROOT,
            "cgroup2",
            MountFlags::empty(),
            None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "root:1:2\nann:100000:65536\nann:1:1\n1001:200000:10\nbroken:x:y\n";
        let range = |first, count| Some(Range { first, count });
        assert_eq!(find_range(text, "ann", 1000), range(100_000, 65_536));
        assert_eq!(find_range(text, "bob", 1001), range(200_000, 10));
        assert_eq!(find_range(text, "broken", 1002), None);
    }
}
