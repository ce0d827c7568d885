//! The bundle's `config.json` (OCI runtime specification, "Configuration"): what docker gives a container
//! that asks for nothing.
//!
//! Mount and network namespace are there already, made by [`super::enter`]; so are files, volumes and
//! `--tmpfs` in the root.

use std::fs;
use std::io;
use std::path::Path;

use husk_init::job::{Limit, PROBE_PATH, Process};
use husk_init::user::User;
use husk_init::workload::{Program, UMASK};
use rustix::thread::CapabilitySet;
use serde_json::{Value, json};

use super::adjust::PERIOD;
use super::cgroups::{self, Cgroups, Kind};
use super::root::Prepared;
use super::tenant::Terms;
use crate::spec::{ContainerSpec, limit_name};

/// What a container may ask of the kernel: docker's default.
const CAPABILITIES: [(&str, CapabilitySet); 14] = [
    ("CAP_AUDIT_WRITE", CapabilitySet::AUDIT_WRITE),
    ("CAP_CHOWN", CapabilitySet::CHOWN),
    ("CAP_DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE),
    ("CAP_FOWNER", CapabilitySet::FOWNER),
    ("CAP_FSETID", CapabilitySet::FSETID),
    ("CAP_KILL", CapabilitySet::KILL),
    ("CAP_MKNOD", CapabilitySet::MKNOD),
    ("CAP_NET_BIND_SERVICE", CapabilitySet::NET_BIND_SERVICE),
    ("CAP_NET_RAW", CapabilitySet::NET_RAW),
    ("CAP_SETFCAP", CapabilitySet::SETFCAP),
    ("CAP_SETGID", CapabilitySet::SETGID),
    ("CAP_SETPCAP", CapabilitySet::SETPCAP),
    ("CAP_SETUID", CapabilitySet::SETUID),
    ("CAP_SYS_CHROOT", CapabilitySet::SYS_CHROOT),
];

/// What of /proc and /sys a container does not see: docker's default.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

/// What it sees and cannot change.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The group that owns terminals (Debian policy, "base-passwd"), where the host has a name for it.
const TTY_GROUP: &str = ",gid=5";

/// What the configuration depends on besides the spec.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// Whether an ordinary user's.
    pub rootless: bool,
    /// How many ids the container has.
    pub ids: u32,
    /// What can be limited.
    pub cgroups: Cgroups,
}

impl Surroundings {
    /// What holds for each process of the container.
    pub fn terms(self) -> Terms {
        let all = CAPABILITIES.into_iter().map(|(_, one)| one);
        // Who makes device nodes reaches every device, where nobody tells them apart.
        let may = |one: &CapabilitySet| {
            *one != CapabilitySet::MKNOD || self.cgroups.devices || self.rootless
        };
        Terms {
            capabilities: all.filter(may).collect::<CapabilitySet>().bits(),
            ids: self.ids,
        }
    }
}

/// The configuration. `limits` are the ones that the host grants.
pub fn build(
    spec: &ContainerSpec,
    root: &Path,
    prepared: &Prepared,
    limits: &[Limit],
    around: Surroundings,
) -> Value {
    let first = (&prepared.user, &prepared.program);
    let cgroup = (around.cgroups.kind != Kind::Absent).then(|| cgroups::path(&spec.id));
    let namespaces = ["pid", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "hostname": text(&spec.job.hostname),
        "root": {"path": root, "readonly": spec.job.read_only},
        "process": process(&spec.job.process, first, limits, around.terms()),
        "mounts": mounts(spec, around),
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": cgroup,
            "resources": resources(spec, around.cgroups),
            "maskedPaths": MASKED,
            "readonlyPaths": read_only(around.cgroups.kind),
            "rootfsPropagation": "private",
        },
    })
}

/// One of its processes, run by this user.
pub fn process(
    process: &Process,
    (user, program): (&User, &Program),
    limits: &[Limit],
    terms: Terms,
) -> Value {
    // Who has one id may not name groups at all (user_namespaces(7), "setgroups").
    let groups = user.groups.iter();
    let groups: Vec<_> = groups
        .filter(|gid| terms.ids > 1 && **gid < terms.ids)
        .collect();
    json!({
        "terminal": process.terminal.is_some(),
        "consoleSize": process.terminal.map(|size| json!({"height": size.rows, "width": size.columns})),
        "user": {
            "uid": user.uid,
            "gid": user.gid,
            "additionalGids": groups,
            "umask": UMASK,
        },
        "args": texts(&process.argv),
        "env": program.env.iter().map(|pair| text(pair.as_bytes())).collect::<Vec<_>>(),
        "cwd": text(&process.cwd),
        "capabilities": capabilities(user.uid, CapabilitySet::from_bits_retain(terms.capabilities)),
        "rlimits": limits.iter().map(limit).collect::<Vec<_>>(),
        "noNewPrivileges": true,
    })
}

/// Whether a process says nothing that a bundle cannot carry; else the first such word.
pub fn is_text(process: &Process) -> Result<(), String> {
    let words = process.argv.iter().chain(&process.env);
    let mut words = words.chain([&process.cwd]);
    let strange = words.find(|word| std::str::from_utf8(word).is_err());
    strange.map_or(Ok(()), |word| Err(text(word)))
}

/// Puts the configuration where the runtime looks for it.
pub fn write(bundle: &Path, config: &Value) -> io::Result<()> {
    fs::write(bundle.join("config.json"), config.to_string())
}

/// Only root has any at once; everybody else could gain them, as far as the file system lets them.
fn capabilities(uid: u32, bounding: CapabilitySet) -> Value {
    let all = CAPABILITIES.into_iter();
    let all: Vec<_> = all
        .filter_map(|(name, one)| bounding.contains(one).then_some(name))
        .collect();
    let now = if uid == 0 { all.clone() } else { Vec::new() };
    json!({"bounding": all, "effective": now, "permitted": now})
}

fn limit(limit: &Limit) -> Value {
    let name = limit_name(limit.resource).to_uppercase();
    json!({"type": format!("RLIMIT_{name}"), "soft": limit.soft, "hard": limit.hard})
}

fn mounts(spec: &ContainerSpec, around: Surroundings) -> Value {
    let mount = |kind: &str, at: &str, options: &str| {
        let options: Vec<_> = options.split(',').collect();
        json!({"type": kind, "source": kind, "destination": at, "options": options})
    };
    let terminals = "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620".to_owned()
        + if around.rootless { "" } else { TTY_GROUP };
    let probe = spec.probe.iter().map(|file| {
        let options = ["bind", "ro", "nosuid", "nodev"];
        json!({"type": "bind", "source": file, "destination": PROBE_PATH, "options": options})
    });
    let fixed = [
        mount("proc", "/proc", "nosuid,noexec,nodev"),
        mount("tmpfs", "/dev", "nosuid,strictatime,mode=755,size=65536k"),
        mount("devpts", "/dev/pts", &terminals),
        mount(
            "tmpfs",
            "/dev/shm",
            "nosuid,noexec,nodev,mode=1777,size=65536k",
        ),
        mount("mqueue", "/dev/mqueue", "nosuid,noexec,nodev"),
        mount("sysfs", "/sys", "nosuid,noexec,nodev,ro"),
        mount(
            "cgroup",
            "/sys/fs/cgroup",
            "nosuid,noexec,nodev,relatime,ro",
        ),
    ];
    fixed.into_iter().chain(probe).collect()
}

/// Each tree of control groups too: the embedded runtime mounts them writable, and a limit is none that
/// the limited can raise.
fn read_only(kind: Kind) -> Vec<String> {
    let fixed = READ_ONLY.map(str::to_owned).into_iter();
    if kind != Kind::PerController {
        return fixed.collect();
    }
    let trees = fs::read_dir(cgroups::ROOT).into_iter().flatten().flatten();
    let trees = trees.filter(|tree| tree.file_type().is_ok_and(|kind| kind.is_dir()));
    let trees = trees.map(|tree| tree.path().to_string_lossy().into_owned());
    fixed.chain(trees).collect()
}

/// Limits, as far as somebody enforces them.
fn resources(spec: &ContainerSpec, cgroups: Cgroups) -> Value {
    let mut resources = json!({});
    if cgroups.memory {
        let limit = i64::try_from(spec.memory).unwrap_or(i64::MAX);
        resources["memory"] = json!({"limit": limit});
        if let Some(reservation) = spec.reservation {
            resources["memory"]["reservation"] = json!(reservation);
        }
        if cgroups.swap {
            // A guest has no swap either. In the unified tree swap has a limit of its own, which the
            // embedded runtime sets to anything but nothing.
            match cgroups.kind {
                Kind::Unified => resources["unified"] = json!({"memory.swap.max": "0"}),
                _ => resources["memory"]["swap"] = json!(limit),
            }
        }
    }
    if cgroups.cpu {
        let quota = spec.cpus.of_all(PERIOD);
        resources["cpu"] = json!({"quota": quota, "period": PERIOD});
    }
    if let (true, Some(list)) = (cgroups.cpuset, &spec.cpuset) {
        resources["cpu"]["cpus"] = json!(list.to_string());
    }
    if let (true, Some(most)) = (cgroups.tasks, spec.job.most_tasks) {
        resources["pids"] = json!({"limit": most});
    }
    if cgroups.kind != Kind::Absent && cgroups.devices {
        // The runtime adds the ones that every container has.
        resources["devices"] = json!([{"allow": false, "access": "rwm"}]);
    }
    resources
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn texts(list: &[Vec<u8>]) -> Vec<String> {
    list.iter().map(|bytes| text(bytes)).collect()
}
