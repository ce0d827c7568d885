//! The system calls that a container may make: docker's default profile, for a workload without the
//! capabilities that docker keeps back.
//!
//! What programs need is allowed. What changes the host, or reaches much of its kernel for little use,
//! fails by EPERM. What is newer than [`syscalls::LAST`] fails by ENOSYS, as on an older kernel, so that a C
//! library tries the call before it; so does `clone3`, whose flags lie in memory where no filter
//! sees them.
//!
//! One table gives two forms: a program that the kernel runs ([`compile`], for husk's own runtime),
//! and the JSON of the OCI runtime specification ([`to_oci`], for runc and its like).
//!
//! The program asks first for the architecture. A call of a 32-bit program has numbers of its own, and
//! fails by ENOSYS too. The OCI form allows them, as docker does. The kernel remembers which numbers
//! are allowed whatever their arguments (since Linux 5.11), so most calls never run the program.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};
use serde_json::{Value, json};

use super::syscalls::{self, COMPAT, GAP_END, GAP_START, LAST};

/// Calls that fail by EPERM, by what they would touch.
const REFUSED: [(&str, &str); 14] = [
    (
        "mounts, which decide what a path means",
        "mount umount2 pivot_root open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr",
    ),
    ("namespaces", "setns unshare"),
    ("names of the host", "sethostname setdomainname"),
    ("time of the host", "settimeofday clock_settime"),
    (
        "the kernel's own code",
        "create_module init_module finit_module delete_module get_kernel_syms query_module \
         kexec_load kexec_file_load bpf",
    ),
    ("the machine", "reboot iopl ioperm swapon swapoff vhangup"),
    (
        "keys, which know no namespace",
        "add_key request_key keyctl",
    ),
    (
        "accounting, quotas and the kernel's messages",
        "acct quotactl quotactl_fd syslog lookup_dcookie perf_event_open fanotify_init",
    ),
    ("files past their paths", "open_by_handle_at"),
    (
        "memory of other nodes",
        "get_mempolicy set_mempolicy set_mempolicy_home_node mbind move_pages migrate_pages",
    ),
    (
        "other processes' memory and files",
        "kcmp pidfd_getfd process_madvise",
    ),
    (
        "page faults of the kernel, held as long as one likes",
        "userfaultfd",
    ),
    (
        "a second way to nearly all calls, which no filter sees",
        "io_uring_setup io_uring_enter io_uring_register",
    ),
    (
        "calls that are gone, or never were",
        "uselib ustat sysfs _sysctl nfsservctl getpmsg putpmsg afs_syscall tuxcall security vserver",
    ),
];

/// Flags of `clone` that make a namespace (linux/sched.h): mount, cgroup, UTS, IPC, user, PID and
/// network.
const NAMESPACE_FLAGS: [u32; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];

/// The error of a call that is refused (asm-generic/errno-base.h).
const EPERM: u32 = 1;
/// The error of a call that is not there (asm-generic/errno.h).
const ENOSYS: u32 = 38;

/// Instructions of classic BPF (linux/bpf_common.h): load a word of the data, return, and jumps.
const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;

/// Where the data has the call's number, and its architecture (struct seccomp_data, bytes).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// 64-bit mode of x86, and x32 (linux/audit.h).
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// The one family of `socket` that is refused: its peers are virtual machines and their hosts, and
/// no network namespace keeps them apart.
const REFUSED_FAMILY: u32 = 40;

/// The last family of Linux 6.12 (AF_MCTP).
const LAST_FAMILY: u32 = 45;

/// What `personality` may be: that of Linux, or of 32-bit Linux, each with the release number of
/// 2.6 or without (PER_LINUX32, UNAME26); and the question which one it is.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, u32::MAX];

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Allowed,
    /// EPERM.
    Refused,
    /// ENOSYS.
    Absent,
    /// Allowed without [`NAMESPACE_FLAGS`], which are in argument 0.
    Clone,
    /// Allowed but for [`REFUSED_FAMILY`], which is argument 0.
    Socket,
    /// Allowed with one of [`PERSONALITIES`] in argument 0.
    Personality,
}

fn rule(name: &str) -> Rule {
    let mut refused = REFUSED.iter().flat_map(|(_, names)| names.split(' '));
    match name {
        "clone" => Rule::Clone,
        "clone3" => Rule::Absent,
        "socket" => Rule::Socket,
        "personality" => Rule::Personality,
        name if refused.any(|other| other == name) => Rule::Refused,
        _ => Rule::Allowed,
    }
}

/// The profile as a program of the kernel's classic BPF (`seccomp(2)`).
#[derive(Debug, Clone)]
pub struct Program(BpfProgram);

/// The profile for [`apply`].
pub fn compile() -> Program {
    let mut rules = BTreeMap::new();
    for (number, name) in syscalls::all() {
        if let Some(refused) = refusals(rule(name)) {
            rules.insert(i64::from(number), refused);
        }
    }
    let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(EPERM));
    let body = SeccompFilter::new(rules, allow, refuse, TargetArch::x86_64)
        .and_then(BpfProgram::try_from)
        .expect("the table makes a small program of legal rules");
    Program(prologue().into_iter().chain(body).collect())
}

/// A call that is allowed only with one of these in argument 0.
#[derive(Debug)]
pub struct Limited<'a> {
    /// Its name.
    pub call: &'a str,
    /// What the argument may be.
    pub arguments: &'a [u32],
}

/// Another program, for a process of husk's own: it may make these calls, and any other one ends it.
pub fn compile_only<'a>(
    calls: impl Iterator<Item = &'a str>,
    limited: Option<&Limited<'_>>,
) -> Program {
    let number = |name| {
        let number = syscalls::number(name).expect("it has a name in the table");
        i64::from(number)
    };
    let equals = |value: &u32| all_of(vec![(SeccompCmpOp::Eq, *value)]);
    let mut rules: BTreeMap<_, _> = calls.map(|name| (number(name), Vec::new())).collect();
    if let Some(limited) = limited {
        let arguments = limited.arguments.iter().map(equals).collect();
        rules.insert(number(limited.call), arguments);
    }
    let (end, allow) = (SeccompAction::KillProcess, SeccompAction::Allow);
    let body = SeccompFilter::new(rules, end, allow, TargetArch::x86_64)
        .and_then(BpfProgram::try_from)
        .expect("the table makes a small program of legal rules");
    Program(body)
}

/// When a call is refused: by any of these rules, always if there is none; `None` for never.
fn refusals(rule: Rule) -> Option<Vec<SeccompRule>> {
    let refused = match rule {
        // An absent call does not come past the prologue.
        Rule::Allowed | Rule::Absent => return None,
        Rule::Refused => Vec::new(),
        Rule::Clone => {
            let set = |flag: u32| vec![(SeccompCmpOp::MaskedEq(flag.into()), flag)];
            NAMESPACE_FLAGS.map(|flag| all_of(set(flag))).into()
        }
        Rule::Socket => vec![all_of(vec![(SeccompCmpOp::Eq, REFUSED_FAMILY)])],
        Rule::Personality => {
            let others = PERSONALITIES.map(|allowed| (SeccompCmpOp::Ne, allowed));
            vec![all_of(others.into())]
        }
    };
    Some(refused)
}

/// Conditions on argument 0, of which the kernel takes 32 bits.
fn all_of(conditions: Vec<(SeccompCmpOp, u32)>) -> SeccompRule {
    let conditions: Result<Vec<_>, _> = conditions
        .into_iter()
        .map(|(op, value)| SeccompCondition::new(0, SeccompCmpArgLen::Dword, op, u64::from(value)))
        .collect();
    conditions
        .and_then(SeccompRule::new)
        .expect("there is an argument 0, and a condition")
}

/// What comes before the table: ENOSYS for 32-bit calls, for `clone3`, and for numbers without a
/// name, x32's among them, which have bit 30 set. A jump counts from the instruction after it.
fn prologue() -> [sock_filter; 9] {
    let statement = |code, k| jump(code, k, 0, 0);
    let clone3 = syscalls::number("clone3").expect("it has a name");
    [
        statement(LOAD, ARCHITECTURE),
        jump(IF_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        statement(RETURN, libc::SECCOMP_RET_ERRNO | ENOSYS),
        statement(LOAD, NUMBER),
        jump(IF_AT_LEAST, LAST + 1, 3, 0),
        jump(IF_AT_LEAST, GAP_END, 1, 0),
        jump(IF_AT_LEAST, GAP_START, 1, 2),
        jump(IF_EQUAL, clone3, 0, 1),
        statement(RETURN, libc::SECCOMP_RET_ERRNO | ENOSYS),
    ]
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Forbids this thread, and whatever it starts from now on, the calls of `program`; and privileges
/// that an exec could give (no_new_privs). Neither can be taken back. Allocates nothing: it may stand between
/// fork and exec.
pub fn apply(program: &Program) -> io::Result<()> {
    apply_filter(&program.0).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        _ => io::ErrorKind::InvalidInput.into(),
    })
}

/// The profile as `linux.seccomp` of the OCI runtime specification (config-linux.md, "Seccomp").
pub fn to_oci() -> Value {
    let allowed = syscalls::all().filter(|(_, name)| rule(name) == Rule::Allowed);
    let mut names: Vec<_> = allowed.map(|(_, name)| name).collect();
    names.extend(COMPAT.iter().flat_map(|row| row.split(' ')));
    let mut calls = vec![
        json!({"names": names, "action": "SCMP_ACT_ALLOW"}),
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}),
    ];
    let mask = NAMESPACE_FLAGS.iter().fold(0, |mask, flag| mask | flag);
    calls.push(oci_allow("clone", "SCMP_CMP_MASKED_EQ", (mask, Some(0))));
    // Not "unequal": a 64-bit comparison would take a family with garbage above for another one.
    calls.push(oci_allow("socket", "SCMP_CMP_LT", (REFUSED_FAMILY, None)));
    let above = (REFUSED_FAMILY + 1..=LAST_FAMILY).map(|family| ("socket", family));
    let equal = above.chain(PERSONALITIES.map(|allowed| ("personality", allowed)));
    calls.extend(equal.map(|(name, value)| oci_allow(name, "SCMP_CMP_EQ", (value, None))));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": calls,
    })
}

/// Allows `name` where argument 0 compares by `op`.
fn oci_allow(name: &str, op: &str, (value, second): (u32, Option<u32>)) -> Value {
    let mut argument = json!({"index": 0, "value": value, "op": op});
    if let Some(second) = second {
        argument["valueTwo"] = json!(second);
    }
    json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]})
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Stdio, id};
    use std::{env, fs, thread};

    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const FAILS_EPERM: u32 = libc::SECCOMP_RET_ERRNO | EPERM;
    const FAILS_ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | ENOSYS;

    /// What the kernel's interpreter would answer to a call, and after how many instructions.
    fn interpret(program: &Program, (arch, number): (u32, u32), argument: u64) -> (u32, usize) {
        let (low, high) = (argument & 0xffff_ffff, argument >> 32);
        let data = [
            number,
            arch,
            0,
            0,
            low.try_into().unwrap(),
            high.try_into().unwrap(),
        ];
        let (mut at, mut word) = (0, 0_u32);
        for steps in 1.. {
            let step = &program.0[at];
            at += 1;
            let branch = |taken: bool| usize::from(if taken { step.jt } else { step.jf });
            match step.code {
                LOAD => word = data[usize::try_from(step.k / 4).unwrap()],
                RETURN => return (step.k, steps),
                IF_EQUAL => at += branch(word == step.k),
                IF_AT_LEAST => at += branch(word >= step.k),
                // Jump, and.
                0x05 => at += usize::try_from(step.k).unwrap(),
                0x54 => word &= step.k,
                other => panic!("instruction {other:#x}"),
            }
        }
        unreachable!()
    }

    fn answer(name: &str, argument: u64) -> u32 {
        let number = syscalls::number(name).unwrap();
        interpret(&compile(), (AUDIT_ARCH_X86_64, number), argument).0
    }

    #[test]
    fn every_number_is_answered_by_the_table() {
        let program = compile();
        for number in (0..1000).chain([0x4000_0000, 0x4000_0027, u32::MAX]) {
            let expected = match syscalls::name(u64::from(number)).map(rule) {
                None | Some(Rule::Absent) => FAILS_ENOSYS,
                Some(Rule::Refused) => FAILS_EPERM,
                Some(_) => ALLOW,
            };
            let (answer, steps) = interpret(&program, (AUDIT_ARCH_X86_64, number), 0);
            assert_eq!(answer, expected, "call {number}");
            assert!(steps < 256, "call {number} takes {steps} instructions");
            let compat = interpret(&program, (0x4000_0003, number), 0);
            assert_eq!(compat, (FAILS_ENOSYS, 3));
        }
    }

    #[test]
    fn a_process_of_husks_own_ends_at_a_call_that_is_not_listed() {
        let limited = Limited {
            call: "socket",
            arguments: &[2, 10],
        };
        let program = compile_only(["read", "getrandom"].into_iter(), Some(&limited));
        let answer = |name: &str, argument| {
            let number = syscalls::number(name).unwrap();
            interpret(&program, (AUDIT_ARCH_X86_64, number), argument).0
        };
        let ends = libc::SECCOMP_RET_KILL_PROCESS;
        for (name, argument, expected) in [
            ("read", 7, ALLOW),
            ("getrandom", 0, ALLOW),
            ("socket", 2, ALLOW),
            ("socket", 10, ALLOW),
            ("socket", 1, ends),
            ("openat", 0, ends),
            ("execve", 0, ends),
        ] {
            assert_eq!(answer(name, argument), expected, "{name} {argument}");
        }
        assert_eq!(interpret(&program, (0x4000_0003, 0), 0).0, ends);
    }

    #[test]
    fn arguments_decide_by_the_bits_that_the_kernel_takes() {
        let thread = 0x003d_0f00;
        assert_eq!(answer("clone", thread), ALLOW);
        for flag in NAMESPACE_FLAGS {
            assert_eq!(answer("clone", thread | u64::from(flag)), FAILS_EPERM);
        }
        for high in [0, 1 << 32] {
            assert_eq!(answer("socket", high | 40), FAILS_EPERM);
            assert_eq!(answer("socket", high | 2), ALLOW);
            assert_eq!(answer("personality", high | 0x2_0008), ALLOW);
            assert_eq!(answer("personality", high | 0x4_0000), FAILS_EPERM);
        }
        assert_eq!(answer("personality", 0xffff_ffff), ALLOW);
    }

    #[test]
    fn the_table_names_calls_that_exist_once() {
        let mut names: Vec<_> = REFUSED
            .iter()
            .flat_map(|(_, names)| names.split(' '))
            .collect();
        let known = names.iter().filter(|name| syscalls::number(name).is_some());
        assert_eq!(known.count(), names.len());
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    const TEST: &str = "container::seccomp::tests::the_kernel_answers_as_the_table_says";

    /// Says that this is the process of the test's own, which locks itself in.
    const CHILD: &str = "HUSK_TEST_SECCOMP";

    /// Calls the kernel with `argument`, and zeros after it; zero or the error.
    fn call(number: i64, argument: i64) -> i32 {
        // SAFETY: no argument that is a pointer is more than null.
        let result = unsafe { libc::syscall(number, argument, 0, 0, 0, 0) };
        if result < 0 {
            io::Error::last_os_error().raw_os_error().unwrap()
        } else {
            0
        }
    }

    fn call_inside() {
        apply(&compile()).unwrap();
        let (eperm, enosys) = (libc::EPERM, libc::ENOSYS);
        let expected = [
            (libc::SYS_getpid, 0, 0),
            (libc::SYS_mount, 0, eperm),
            (libc::SYS_unshare, i64::from(libc::CLONE_NEWUSER), eperm),
            (libc::SYS_clone, i64::from(libc::CLONE_NEWUSER), eperm),
            (libc::SYS_clone3, 0, enosys),
            (libc::SYS_socket, 40, eperm),
            (libc::SYS_socket, 1 << 32 | 40, eperm),
            (libc::SYS_personality, 0, 0),
            (libc::SYS_personality, 0x4_0000, eperm),
            (libc::SYS_keyctl, 0, eperm),
            (libc::SYS_io_uring_setup, 1, eperm),
            (400, 0, enosys),
            (9999, 0, enosys),
        ];
        for (number, argument, error) in expected {
            assert_eq!(call(number, argument), error, "{number} with {argument:#x}");
        }
        assert_eq!(
            thread::spawn(|| call(libc::SYS_mount, 0)).join().unwrap(),
            eperm
        );
        assert!(Command::new("/bin/true").status().unwrap().success());
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "t", "/mnt"])
            .output();
        assert!(!mount.unwrap().status.success());
    }

    #[test]
    fn the_kernel_answers_as_the_table_says() {
        if env::var_os(CHILD).is_some() {
            return call_inside();
        }
        let child = Command::new(env::current_exe().unwrap())
            .args(["--nocapture", "--exact", TEST])
            .env(CHILD, "yes")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{said}");
    }

    /// A bundle (bundle.md of the OCI runtime specification) that runs `script` by busybox, as root
    /// with every capability that a mount could want.
    fn write_bundle(bundle: &Path, script: &str) -> io::Result<()> {
        let bin = bundle.join("rootfs/bin");
        fs::create_dir_all(&bin)?;
        fs::create_dir(bundle.join("rootfs/proc"))?;
        fs::copy("/bin/busybox", bin.join("busybox"))?;
        let capabilities = json!(["CAP_SYS_ADMIN", "CAP_MKNOD"]);
        let kinds = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({"type": kind}));
        let config = json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {
                "args": ["/bin/busybox", "sh", "-c", script],
                "cwd": "/",
                "user": {"uid": 0, "gid": 0},
                "capabilities": {
                    "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                },
                "noNewPrivileges": true,
            },
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": kinds, "seccomp": to_oci()},
        });
        fs::write(bundle.join("config.json"), config.to_string())
    }

    #[test]
    fn runc_takes_the_oci_form_and_a_mount_inside_is_refused() {
        let bundle = tempfile::tempdir().unwrap();
        let script =
            "busybox grep Seccomp: /proc/self/status; busybox mount -t tmpfs t /proc; echo $?";
        if let Err(error) = write_bundle(bundle.path(), script) {
            eprintln!("not run: no bundle without a busybox: {error}");
            return;
        }
        let (root, name) = (bundle.path().join("state"), format!("husk-test-{}", id()));
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(root).args(["run", "--bundle"]);
        let Ok(ran) = runc
            .arg(bundle.path())
            .arg(name)
            .stdin(Stdio::null())
            .output()
        else {
            eprintln!("not run: there is no runc");
            return;
        };
        let said = String::from_utf8_lossy(&ran.stderr);
        if said.contains("rootless") || said.contains("cgroup") {
            eprintln!("not run: runc does not run here: {said}");
            return;
        }
        assert_eq!(
            String::from_utf8_lossy(&ran.stdout),
            "Seccomp:\t2\n1\n",
            "{said}"
        );
        assert!(said.contains("permission denied"), "{said}");
    }
}
