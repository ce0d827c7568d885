//! The dead: every orphan of the machine becomes init's child, and init buries it.

use husk_init::exit::Exit;
use husk_init::sys::{process, wait};

/// Buries whoever is dead by now; the workload's exit, if it is among them.
pub fn bury_the_dead(workload: libc::pid_t) -> Option<Exit> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = wait::any_child() {
        if pid == workload {
            ended = Some(exit_of(status));
        }
    }
    ended
}

/// Ends every process but init, and buries them all, so that none holds a stream open.
pub fn end_leftovers() {
    // Once is enough, also for those that fork all the time: the kernel signals everybody under the
    // lock that a fork takes, and ends a fork that finds a signal (Linux 4.20, kernel/fork.c).
    let _nobody = process::kill(-1, libc::SIGKILL);
    while wait::next_child().is_ok() {}
}

fn exit_of(status: libc::c_int) -> Exit {
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
