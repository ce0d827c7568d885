//! From what the job asks for to a process: everything is prepared here, where a failure has a
//! name; the child itself only makes system calls.

use std::os::fd::OwnedFd;

use husk_init::exit::{Failure, Stage};
use husk_init::failure::At;
use husk_init::files::make_directory;
use husk_init::job::Process;
use husk_init::sys::spawn::{Plan, Step};
use husk_init::sys::{self, Errno};
use husk_init::user::User;
use husk_init::workload::{Program, limits};

/// Starts the process; it runs its command when this returns.
pub fn spawn(
    wanted: &Process,
    user: &User,
    program: &Program,
    streams: &[OwnedFd; 3],
) -> Result<libc::pid_t, Failure> {
    let command = wanted.argv.first().map_or(&b""[..], Vec::as_slice);
    make_directory(&wanted.cwd).at(Stage::Workdir, &wanted.cwd)?;
    let cwd = sys::string(&wanted.cwd).at(Stage::Workdir, &wanted.cwd)?;
    let limits = limits(&wanted.limits);
    let plan = Plan {
        program,
        cwd: &cwd,
        uid: user.uid,
        gid: user.gid,
        groups: &user.groups,
        limits: &limits,
        streams,
        on_terminal: wanted.terminal.is_some(),
    };
    sys::spawn::spawn(&plan).map_err(|(step, Errno(errno))| {
        let (stage, detail) = match step {
            Step::Clone | Step::Session => (Stage::Fork, command),
            Step::Streams => (Stage::Stream, command),
            Step::Terminal => (Stage::Terminal, command),
            Step::Limit => (Stage::Limit, &b""[..]),
            Step::Workdir => (Stage::Workdir, wanted.cwd.as_slice()),
            Step::User => (Stage::User, wanted.user.as_slice()),
            Step::Exec => (Stage::Exec, command),
        };
        Failure {
            stage,
            errno,
            detail: detail.to_vec(),
        }
    })
}
