//! With what rights the process speaks to the host's kernel that serves a workload, or is it.

use std::fs;

use rustix::thread::CapabilitySet;

use super::instance::Fleet;
use crate::sys::processes::tree;
use crate::vmm::MACHINE_NAME;

/// The rights of a wall's process (proc(5), "status").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Its effective capabilities.
    pub capabilities: Vec<String>,
    /// Its seccomp mode.
    pub seccomp: String,
    /// Whether it can gain no privileges.
    pub no_new_privs: bool,
    /// Whether it is in a user namespace of its own.
    pub user_namespace: bool,
}

impl Rights {
    /// Those of an instance that is up; `None` where its process is not found.
    pub fn of(instances: &Fleet) -> Option<Self> {
        let mut below = instances.processes().flat_map(tree);
        let pid = below.find(|pid| serves(*pid))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        let mask = u64::from_str_radix(&field("CapEff:"), 16).unwrap_or_default();
        let capabilities = CapabilitySet::from_bits_truncate(mask);
        let seccomp = match field("Seccomp:").as_str() {
            "0" => "off",
            "1" => "strict",
            "2" => "filter",
            _ => "unknown",
        };
        Some(Self {
            capabilities: capabilities
                .iter_names()
                .map(|(name, _)| name.to_owned())
                .collect(),
            seccomp: seccomp.to_owned(),
            no_new_privs: field("NoNewPrivs:") == "1",
            user_namespace: is_elsewhere(pid, "user"),
        })
    }
}

/// Whether a process is a machine's, or is in a container.
fn serves(pid: u32) -> bool {
    let arg0 = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let name = arg0.split(|byte| *byte == 0).next().unwrap_or_default();
    is_elsewhere(pid, "pid") || name == MACHINE_NAME.as_bytes()
}

/// Whether a process is in another namespace of that kind than this one.
fn is_elsewhere(pid: u32, kind: &str) -> bool {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    namespace(&pid.to_string()) != namespace("self")
}
