//! The system calls of Linux on x86-64, up to those of 6.12, by number and name
//! (`arch/x86/entry/syscalls/syscall_64.tbl`).

/// Names in a row of the tables.
const ROW: u32 = 5;

/// The first number of [`AFTER_GAP`]: from here on, all architectures number alike.
pub const GAP_END: u32 = 424;

/// The first number that no call of [`BEFORE_GAP`] has.
pub const GAP_START: u32 = 336;

/// The last number that the tables know.
pub const LAST: u32 = 462;

/// Calls from 0 on, five a row, so that the first number of a row is five times the rows before it.
const BEFORE_GAP: [&str; 68] = [
    "read write open close stat",
    "fstat lstat poll lseek mmap",
    "mprotect munmap brk rt_sigaction rt_sigprocmask",
    "rt_sigreturn ioctl pread64 pwrite64 readv",
    "writev access pipe select sched_yield",
    "mremap msync mincore madvise shmget",
    "shmat shmctl dup dup2 pause",
    "nanosleep getitimer alarm setitimer getpid",
    "sendfile socket connect accept sendto",
    "recvfrom sendmsg recvmsg shutdown bind",
    "listen getsockname getpeername socketpair setsockopt",
    "getsockopt clone fork vfork execve",
    "exit wait4 kill uname semget",
    "semop semctl shmdt msgget msgsnd",
    "msgrcv msgctl fcntl flock fsync",
    "fdatasync truncate ftruncate getdents getcwd",
    "chdir fchdir rename mkdir rmdir",
    "creat link unlink symlink readlink",
    "chmod fchmod chown fchown lchown",
    "umask gettimeofday getrlimit getrusage sysinfo",
    "times ptrace getuid syslog getgid",
    "setuid setgid geteuid getegid setpgid",
    "getppid getpgrp setsid setreuid setregid",
    "getgroups setgroups setresuid getresuid setresgid",
    "getresgid getpgid setfsuid setfsgid getsid",
    "capget capset rt_sigpending rt_sigtimedwait rt_sigqueueinfo",
    "rt_sigsuspend sigaltstack utime mknod uselib",
    "personality ustat statfs fstatfs sysfs",
    "getpriority setpriority sched_setparam sched_getparam sched_setscheduler",
    "sched_getscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval mlock",
    "munlock mlockall munlockall vhangup modify_ldt",
    "pivot_root _sysctl prctl arch_prctl adjtimex",
    "setrlimit chroot sync acct settimeofday",
    "mount umount2 swapon swapoff reboot",
    "sethostname setdomainname iopl ioperm create_module",
    "init_module delete_module get_kernel_syms query_module quotactl",
    "nfsservctl getpmsg putpmsg afs_syscall tuxcall",
    "security gettid readahead setxattr lsetxattr",
    "fsetxattr getxattr lgetxattr fgetxattr listxattr",
    "llistxattr flistxattr removexattr lremovexattr fremovexattr",
    "tkill time futex sched_setaffinity sched_getaffinity",
    "set_thread_area io_setup io_destroy io_getevents io_submit",
    "io_cancel get_thread_area lookup_dcookie epoll_create epoll_ctl_old",
    "epoll_wait_old remap_file_pages getdents64 set_tid_address restart_syscall",
    "semtimedop fadvise64 timer_create timer_settime timer_gettime",
    "timer_getoverrun timer_delete clock_settime clock_gettime clock_getres",
    "clock_nanosleep exit_group epoll_wait epoll_ctl tgkill",
    "utimes vserver mbind set_mempolicy get_mempolicy",
    "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify",
    "mq_getsetattr kexec_load waitid add_key request_key",
    "keyctl ioprio_set ioprio_get inotify_init inotify_add_watch",
    "inotify_rm_watch migrate_pages openat mkdirat mknodat",
    "fchownat futimesat newfstatat unlinkat renameat",
    "linkat symlinkat readlinkat fchmodat faccessat",
    "pselect6 ppoll unshare set_robust_list get_robust_list",
    "splice tee sync_file_range vmsplice move_pages",
    "utimensat epoll_pwait signalfd timerfd_create eventfd",
    "fallocate timerfd_settime timerfd_gettime accept4 signalfd4",
    "eventfd2 epoll_create1 dup3 pipe2 inotify_init1",
    "preadv pwritev rt_tgsigqueueinfo perf_event_open recvmmsg",
    "fanotify_init fanotify_mark prlimit64 name_to_handle_at open_by_handle_at",
    "clock_adjtime syncfs sendmmsg setns getcpu",
    "process_vm_readv process_vm_writev kcmp finit_module sched_setattr",
    "sched_getattr renameat2 seccomp getrandom memfd_create",
    "kexec_file_load bpf execveat userfaultfd membarrier",
    "mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect",
    "pkey_alloc pkey_free statx io_pgetevents rseq",
    "uretprobe",
];

/// Calls from [`GAP_END`] on, five a row.
const AFTER_GAP: [&str; 8] = [
    "pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree",
    "move_mount fsopen fsconfig fsmount fspick",
    "pidfd_open clone3 close_range openat2 pidfd_getfd",
    "faccessat2 process_madvise epoll_pwait2 mount_setattr quotactl_fd",
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret process_mrelease",
    "futex_waitv set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack",
    "futex_wake futex_wait futex_requeue statmount listmount",
    "lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal",
];

/// Calls that programs make in 32-bit mode only, and may (`syscall_32.tbl`). `socketcall` and `ipc`
/// are several calls in one, which a filter cannot tell apart.
pub const COMPAT: [&str; 10] = [
    "_llseek _newselect chown32 clock_adjtime64 clock_getres_time64 clock_gettime64",
    "clock_nanosleep_time64 fadvise64_64 fchown32 fcntl64 fstat64 fstatat64 fstatfs64",
    "ftruncate64 futex_time64 getegid32 geteuid32 getgid32 getgroups32 getresgid32",
    "getresuid32 getuid32 io_pgetevents_time64 ipc lchown32 lstat64 mmap2",
    "mq_timedreceive_time64 mq_timedsend_time64 ppoll_time64 pselect6_time64 recvmmsg_time64",
    "rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64 sendfile64",
    "setfsgid32 setfsuid32 setgid32 setgroups32 setregid32 setresgid32 setresuid32 setreuid32",
    "setuid32 sigprocmask sigreturn socketcall stat64 statfs64 timer_gettime64",
    "timer_settime64 timerfd_gettime64 timerfd_settime64 truncate64 ugetrlimit",
    "utimensat_time64 waitpid",
];

/// The name of call `number`.
pub fn name(number: u64) -> Option<&'static str> {
    let number = u32::try_from(number).ok()?;
    let (table, index) = match number.checked_sub(GAP_END) {
        Some(index) => (AFTER_GAP.as_slice(), index),
        None => (BEFORE_GAP.as_slice(), number),
    };
    let row = table.get(usize::try_from(index / ROW).ok()?)?;
    row.split(' ').nth(usize::try_from(index % ROW).ok()?)
}

/// The number of the call of that name.
pub fn number(name: &str) -> Option<u32> {
    let mut calls = all();
    calls
        .find(|(_, other)| *other == name)
        .map(|(number, _)| number)
}

/// Every call, in the order of numbers.
pub fn all() -> impl Iterator<Item = (u32, &'static str)> {
    let names = |table: &'static [&'static str]| table.iter().flat_map(|row| row.split(' '));
    let before = (0..).zip(names(&BEFORE_GAP));
    before.chain((GAP_END..).zip(names(&AFTER_GAP)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn numbers_are_those_of_the_c_library() {
        let known = [
            ("read", libc::SYS_read),
            ("clone", libc::SYS_clone),
            ("_sysctl", libc::SYS__sysctl),
            ("mount", libc::SYS_mount),
            ("openat", libc::SYS_openat),
            ("seccomp", libc::SYS_seccomp),
            ("rseq", libc::SYS_rseq),
            ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
            ("clone3", libc::SYS_clone3),
            ("fchmodat2", libc::SYS_fchmodat2),
            ("mseal", libc::SYS_mseal),
        ];
        for (name, expected) in known {
            assert_eq!(number(name).map(i64::from), Some(expected), "{name}");
        }
    }

    #[test]
    fn numbers_and_names_are_each_others_inverse_and_the_tables_are_whole() {
        let calls: Vec<_> = all().collect();
        for (number, call) in &calls {
            assert_eq!(name(u64::from(*number)), Some(*call));
        }
        let before = calls.iter().filter(|(number, _)| *number < GAP_START);
        assert_eq!(before.count(), usize::try_from(GAP_START).unwrap());
        assert_eq!(calls.last(), Some(&(LAST, "mseal")));
        let outside = [GAP_START, GAP_END - 1, LAST + 1, 1 << 30];
        assert!(
            outside
                .iter()
                .all(|number| name(u64::from(*number)).is_none())
        );
    }

    #[test]
    fn numbers_are_those_of_this_hosts_headers() {
        let header = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
        let Ok(text) = fs::read_to_string(header) else {
            eprintln!("not run: there is no {header}");
            return;
        };
        let defined = text
            .lines()
            .filter_map(|line| line.strip_prefix("#define __NR_"));
        for (call, value) in defined.filter_map(|rest| rest.split_once(' ')) {
            let value: u32 = value.trim().parse().unwrap();
            if value <= LAST {
                assert_eq!(number(call), Some(value), "{call}");
            }
        }
    }
}
