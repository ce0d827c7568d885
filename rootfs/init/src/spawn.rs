//! From what the job asks for to a process: everything is prepared here, where a failure has a
//! name; the child itself only makes system calls.

use std::os::fd::OwnedFd;

use husk_init::exit::{Failure, Stage};
use husk_init::failure::{At, not_spawned};
use husk_init::files::make_directory;
use husk_init::job::Process;
use husk_init::sys;
use husk_init::sys::spawn::Plan;
use husk_init::user::User;
use husk_init::workload::{Program, limits};

/// Starts the process; it runs its command when this returns.
pub fn spawn(
    wanted: &Process,
    user: &User,
    program: &Program,
    streams: &[OwnedFd; 3],
) -> Result<libc::pid_t, Failure> {
    make_directory(&wanted.cwd).at(Stage::Workdir, &wanted.cwd)?;
    let cwd = sys::string(&wanted.cwd).at(Stage::Workdir, &wanted.cwd)?;
    let limits = limits(&wanted.limits);
    let plan = Plan {
        program,
        cwd: &cwd,
        uid: user.uid,
        gid: user.gid,
        groups: Some(&user.groups),
        limits: &limits,
        streams,
        on_terminal: wanted.terminal.is_some(),
        cgroups: &[],
        confine: None,
    };
    sys::spawn::spawn(&plan).map_err(|failed| not_spawned(failed, wanted))
}
