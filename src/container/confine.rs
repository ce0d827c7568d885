//! What the far end of a network, and a switch, may still do once they have begun: speak over sockets. A container that
//! took one over would find no file to open, no program to run, and no process to reach; and from a switch no network.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::seccomp::{self, Limited};

/// The calls of the engine, and of the memory, the clock and the end of any program.
const CALLS: [(&str, &str); 5] = [
    (
        "frames, what the sockets carry, and what is written into an open file",
        "read write readv writev pwrite64 recvfrom sendto recvmsg sendmsg",
    ),
    (
        "connections, as they come and go",
        "connect bind listen accept4 socketpair shutdown getsockopt setsockopt getsockname getpeername close fcntl",
    ),
    (
        "waiting",
        "epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll clock_gettime clock_nanosleep nanosleep \
         timerfd_create timerfd_settime eventfd2 restart_syscall",
    ),
    (
        "memory and randomness",
        "mmap munmap mremap mprotect madvise brk futex sched_yield getrandom",
    ),
    (
        "the end",
        "exit exit_group rt_sigreturn rt_sigprocmask sigaltstack",
    ),
];

/// Families that a socket may be of: IPv4 and IPv6.
const FAMILIES: [u32; 2] = [2, 10];

/// The calls of a switch: its sockets are those of who connects, and the lock says whether anybody is about to.
const CALLS_OF_SWITCH: [(&str, &str); 4] = [
    (
        "packets, and who comes and goes",
        "recvfrom sendto accept4 close fcntl flock",
    ),
    (
        "waiting",
        "epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll clock_gettime restart_syscall",
    ),
    CALLS[3],
    CALLS[4],
];

/// Drops everything else, for good: a call that is not listed ends the process. Of root's capabilities one is left, for
/// the echo requests of hosts that let no user have a socket for them.
pub fn confine() -> io::Result<()> {
    drop_capabilities(CapabilitySet::NET_RAW)?;
    let sockets = Limited {
        call: "socket",
        arguments: &FAMILIES,
    };
    apply(&CALLS, Some(&sockets))
}

/// The same for a switch, which makes no socket and has no capability.
pub fn confine_switch() -> io::Result<()> {
    drop_capabilities(CapabilitySet::empty())?;
    apply(&CALLS_OF_SWITCH, None)
}

fn drop_capabilities(kept: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?;
    let left = held.permitted & kept;
    Ok(set_capabilities(
        None,
        CapabilitySets {
            effective: left,
            permitted: left,
            inheritable: CapabilitySet::empty(),
        },
    )?)
}

fn apply(calls: &[(&str, &str)], limited: Option<&Limited<'_>>) -> io::Result<()> {
    let calls = calls.iter().flat_map(|(_, names)| names.split(' '));
    seccomp::apply(&seccomp::compile_only(calls, limited))
}
