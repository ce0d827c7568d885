//! The dead: every orphan of the machine becomes init's child, and init buries it.

use husk_init::exit::Exit;
use husk_init::sys::{process, wait};

/// Who is told of a dead process, and how it ended.
pub type Tell<'a> = &'a mut dyn FnMut(libc::pid_t, Exit);

/// Buries whoever is dead by now, and tells of each how it ended.
pub fn bury_the_dead(tell: Tell<'_>) {
    while let Ok(Some((pid, status))) = wait::any_child() {
        tell(pid, exit_of(status));
    }
}

/// Ends every process but init, so that none holds a stream open; buries them all, and tells of each.
pub fn end_leftovers(tell: Tell<'_>) {
    // Once is enough, also for those that fork all the time: the kernel signals everybody under the
    // lock that a fork takes, and ends a fork that finds a signal (Linux 4.20, kernel/fork.c).
    let _nobody = process::kill(-1, libc::SIGKILL);
    while let Ok((pid, status)) = wait::next_child() {
        tell(pid, exit_of(status));
    }
}

/// A wait status as an end.
pub fn exit_of(status: libc::c_int) -> Exit {
    let byte = |value: libc::c_int| u8::try_from(value & 0xff).expect("masked to a byte");
    if libc::WIFSIGNALED(status) {
        Exit::Signal(byte(libc::WTERMSIG(status)))
    } else {
        Exit::Code(byte(libc::WEXITSTATUS(status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses_become_exits() {
        assert_eq!(exit_of(0), Exit::Code(0));
        assert_eq!(exit_of(0x2a00), Exit::Code(42));
        assert_eq!(exit_of(9), Exit::Signal(9));
        assert_eq!(exit_of(0x80 | 11), Exit::Signal(11));
    }
}
