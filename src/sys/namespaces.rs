//! Namespaces of this process's own.

use std::fs;
use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::fork::require_one_thread;

/// Leaves the host's mounts and network for own ones, and its users and control groups too where
/// `users` says so. Nobody else sees what is mounted from here on.
pub fn leave(users: bool) -> io::Result<()> {
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWNET;
    if users {
        flags |= UnshareFlags::NEWUSER | UnshareFlags::NEWCGROUP;
    }
    // SAFETY: descriptors stay shared with nobody new: CLONE_FILES, which the function is unsafe for,
    // is not asked for.
    unsafe { unshare_unsafe(flags) }?;
    Ok(())
}

/// Makes this process's own user and group, as they are outside, root of its user namespace, and leaves
/// every other id without a name.
pub fn map_one(uid: u32, gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Leaves an environment variable behind, for everything that this process does and starts.
pub fn forget_variable(name: &str) -> io::Result<()> {
    require_one_thread()?;
    // SAFETY: this is the only thread, as was seen above, so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
    Ok(())
}
