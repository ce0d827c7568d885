//! A report as a comparison of three walls would write it, with invented samples, for tests.

use std::collections::BTreeMap;

use super::random::SplitMix64;
use super::report::{
    Aspect, Better, Difference, Environment, Footprint, FootprintPoint, Kvm, Parity, Plan, Report,
    Start, StartSample, Subject, Surface, Throughput, Work,
};
use crate::spec::Cpus;

/// Starts per wall.
pub(super) const STARTS: u32 = 40;

/// Three walls, all suites, complete, on a software KVM. The first wall is the slowest.
pub(super) fn report() -> Report {
    let mut random = SplitMix64::new(42);
    let mut report = Report::begin(environment(), subject(), plan());
    report.complete = true;
    report.harness_overhead_percent = Some(0.4);
    report.notes = vec!["This host has no cgroup v2: --cpus limits the machine only.".to_owned()];
    let walls = [("vm", 46.0), ("container", 14.0), ("runc", 31.0)];
    report.start = walls.map(|w| start(&mut random, w)).to_vec();
    let sizes = [
        ("vm", 21_000, 6_200),
        ("container", 2_100, 900),
        ("runc", 2_600, 1_000),
    ];
    report.footprint = sizes.map(footprint).to_vec();
    for (wall, factor) in [("vm", 1.0), ("container", 0.0), ("runc", 0.05)] {
        report.work.extend(work(&mut random, wall, factor));
    }
    report.parity = Some(parity());
    report.surface = surface();
    report
}

fn environment() -> Environment {
    let facts = [
        ("cpu", "AMD EPYC 9R14"),
        ("cpus", "2"),
        ("memory", "8 GiB"),
        ("host kernel", "6.1.0-31-amd64"),
        ("guest kernel", "6.12.30-husk"),
        ("mitigations", "spectre_v2: Retpolines; mds: Not affected"),
        ("governor", "performance"),
        ("nested", "yes"),
        ("cgroups", "v1 hybrid"),
    ];
    Environment {
        kvm: Kvm::Software,
        facts: facts.map(|(n, v)| (n, v.to_owned())).into_iter().collect(),
    }
}

fn subject() -> Subject {
    Subject {
        image: "docker.io/library/busybox:latest".to_owned(),
        digest: format!("sha256:{}", "3f57d9401f8d42f986df300f0c69192f".repeat(2)),
        command: ["echo", "hello"].map(str::to_owned).to_vec(),
        memory_bytes: 256 << 20,
        cpus: Cpus::ONE,
    }
}

fn plan() -> Plan {
    Plan {
        walls: ["vm", "container", "runc"].map(str::to_owned).to_vec(),
        suites: ["start", "footprint", "cpu", "syscall", "disk"]
            .map(str::to_owned)
            .to_vec(),
        samples: STARTS,
        warmups: 3,
        cold: false,
    }
}

fn start(random: &mut SplitMix64, (wall, median): (&str, f64)) -> Start {
    let samples = (0..STARTS).map(|at| {
        let tail = if at % 17 == 16 { 1.8 } else { 1.0 };
        let exit_ms = median * (0.06 * random.normal()).exp() * tail;
        StartSample {
            first_byte_ms: Some(exit_ms * 0.88),
            exit_ms,
            phases_ms: phases(wall)
                .iter()
                .map(|(n, part)| (*n, part * exit_ms))
                .collect(),
        }
    });
    Start {
        wall: wall.to_owned(),
        samples: samples.collect(),
        failures: Vec::new(),
    }
}

fn phases(wall: &str) -> &'static [(&'static str, f64)] {
    match wall {
        "vm" => &[
            ("kvm", 0.28),
            ("image", 0.04),
            ("spec", 0.01),
            ("load", 0.07),
            ("kernel", 0.38),
            ("init", 0.09),
            ("workload", 0.06),
            ("teardown", 0.05),
        ],
        "container" => &[
            ("image", 0.13),
            ("spec", 0.02),
            ("init", 0.45),
            ("workload", 0.2),
            ("teardown", 0.15),
        ],
        _ => &[],
    }
}

fn footprint((wall, first, more): (&str, u64, u64)) -> Footprint {
    let points = [1_u32, 10, 50].map(|instances| FootprintPoint {
        instances,
        pss_kib: first + more * u64::from(instances - 1),
        kernel_kib: Some(more / 4 * u64::from(instances)),
        marginal_kib: Some(more + more / 4),
        start_ms: Some(first as f64 / 500.0 + f64::from(instances) / 5.0),
    });
    let throughput = [1_u32, 4, 16].map(|parallel| Throughput {
        parallel,
        starts_per_second: 400_000.0 / first as f64 * f64::from(parallel).sqrt(),
    });
    Footprint {
        wall: wall.to_owned(),
        points: points.to_vec(),
        throughput: throughput.to_vec(),
    }
}

/// What it costs behind the namespace wall, and by how much the machine's wall multiplies it.
const PROBES: [(&str, &str, &str, f64, f64); 9] = [
    ("cpu", "integer", "ns", 1.2, 1.0),
    ("cpu", "float", "ns", 2.4, 1.01),
    ("syscall", "getpid", "ns", 95.0, 9.0),
    ("syscall", "clock", "ns", 24.0, 0.7),
    ("syscall", "fork+exec", "ns", 410_000.0, 14.0),
    ("syscall", "page fault", "ns", 610.0, 5.0),
    ("disk", "create", "ns", 14_000.0, 2.1),
    ("disk", "fsync", "ns", 1_900_000.0, 0.02),
    ("disk", "write", "MiB/s", 1400.0, 2.2),
];

fn work(random: &mut SplitMix64, wall: &str, part: f64) -> Vec<Work> {
    let probes = PROBES.iter().map(|(suite, probe, unit, base, factor)| {
        let rate = unit.ends_with("/s");
        let factor = factor.powf(if rate { -part } else { part });
        let sample = |random: &mut SplitMix64| base * factor * (0.03 * random.normal()).exp();
        Work {
            wall: wall.to_owned(),
            suite: (*suite).to_owned(),
            probe: (*probe).to_owned(),
            unit: (*unit).to_owned(),
            better: if rate { Better::Higher } else { Better::Lower },
            samples: (0..20).map(|_| sample(random)).collect(),
        }
    });
    probes.collect()
}

fn parity() -> Parity {
    let walls = [
        ("vm", "no such file: /proc/kcore"),
        ("container", "permission denied"),
    ];
    Parity {
        equal: false,
        differences: vec![Difference {
            what: Aspect::Stderr,
            path: None,
            walls: walls.map(|(w, v)| (w, v.to_owned())).into_iter().collect(),
        }],
    }
}

fn surface() -> Vec<Surface> {
    let counts = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
        pairs
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect()
    };
    let vm = Surface {
        wall: "vm".to_owned(),
        syscalls: counts(&[
            ("ioctl", 4120),
            ("read", 31),
            ("write", 12),
            ("epoll_wait", 40),
        ]),
        ioctls: counts(&[("KVM_RUN", 4018), ("KVM_IRQ_LINE", 102)]),
        exits: counts(&[("mmio", 231), ("io", 3700), ("hlt", 87)]),
        seccomp: "none".to_owned(),
        ..Surface::default()
    };
    let container = Surface {
        wall: "container".to_owned(),
        syscalls: counts(&[("execve", 1), ("read", 3), ("write", 1), ("mmap", 21)]),
        capabilities: ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL"]
            .map(str::to_owned)
            .to_vec(),
        seccomp: "filter".to_owned(),
        no_new_privs: true,
        user_namespace: true,
        notes: vec!["counted with ptrace".to_owned()],
        ..Surface::default()
    };
    vec![vm, container]
}
