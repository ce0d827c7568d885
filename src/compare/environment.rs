//! The host, as far as it bears on figures: read from /proc and /sys, where what is not told is left out.

use std::fs;
use std::path::Path;

use super::ordered::Ordered;
use super::report::{Environment, Kvm};

const CPU: &str = "/sys/devices/system/cpu";

/// Looks at the host. `guest_kernel` is the version that machines run; `kvm` what runs them.
pub fn look(kvm: Kvm, guest_kernel: &str) -> Environment {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        line.split_once(':')
            .map(|(_, value)| value.trim().to_owned())
    };
    let virtualized = field("flags").map(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let cpus = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let found = [
        ("cpu", field("model name")),
        ("cpus", Some(cpus.to_string()).filter(|_| cpus > 0)),
        ("memory", memory()),
        ("host kernel", read("/proc/sys/kernel/osrelease")),
        (
            "guest kernel",
            Some(guest_kernel.to_owned()).filter(|_| kvm != Kvm::None),
        ),
        ("microcode", field("microcode")),
        ("mitigations", mitigations()),
        (
            "governor",
            read(&format!("{CPU}/cpu0/cpufreq/scaling_governor")),
        ),
        ("smt", read(&format!("{CPU}/smt/control"))),
        (
            "thp",
            read("/sys/kernel/mm/transparent_hugepage/enabled").map(|text| chosen(&text)),
        ),
        (
            "ksm",
            read("/sys/kernel/mm/ksm/run")
                .map(|run| (if run == "1" { "on" } else { "off" }).to_owned()),
        ),
        (
            "nested",
            virtualized.map(|is| {
                (if is {
                    "yes: this host is a virtual machine"
                } else {
                    "no"
                })
                .to_owned()
            }),
        ),
        ("cgroups", Some(cgroups().to_owned())),
    ];
    let told = found
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    Environment {
        kvm,
        facts: told.collect::<Ordered<String>>(),
    }
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Of `always [madvise] never` the one in brackets.
fn chosen(text: &str) -> String {
    let inside = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(text, |(word, _)| word).to_owned()
}

fn memory() -> Option<String> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(format!("{} MiB", kib >> 10))
}

fn cgroups() -> &'static str {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        "unified"
    } else if Path::new("/sys/fs/cgroup/unified").exists() {
        "hybrid"
    } else if Path::new("/sys/fs/cgroup/memory").exists() {
        "legacy"
    } else {
        "none"
    }
}

/// Which weaknesses of the processor the kernel works around, and which it does not.
fn mitigations() -> Option<String> {
    let mut names = [Vec::new(), Vec::new()];
    for entry in fs::read_dir(format!("{CPU}/vulnerabilities"))
        .ok()?
        .flatten()
    {
        let state = fs::read_to_string(entry.path()).unwrap_or_default();
        let name = entry.file_name().to_string_lossy().into_owned();
        if state.starts_with("Mitigation") {
            names[0].push(name);
        } else if state.starts_with("Vulnerable") {
            names[1].push(name);
        }
    }
    names.iter_mut().for_each(|names| names.sort());
    let [mended, open] = names;
    let mut parts = Vec::new();
    if !mended.is_empty() {
        parts.push(mended.join(", "));
    }
    if !open.is_empty() {
        parts.push(format!("vulnerable: {}", open.join(", ")));
    }
    Some(if parts.is_empty() {
        "none needed".to_owned()
    } else {
        parts.join("; ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_stands_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("on"), "on");
    }

    #[test]
    fn this_host_tells_something() {
        let environment = look(Kvm::None, "6.12");
        assert!(environment.facts.get("host kernel").is_some());
        assert_eq!(environment.facts.get("guest kernel"), None);
    }
}
