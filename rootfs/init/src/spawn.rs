//! From what the job asks for to a process: everything is prepared here, where a failure has a
//! name; the child itself only makes system calls.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use husk_init::exit::{Failure, Stage};
use husk_init::job::{Limit, Process};

use crate::command::candidates;
use crate::failure::At;
use crate::files::make_directory;
use crate::sys::spawn::{Plan, Step};
use crate::sys::{self, Errno};
use crate::user::User;

/// What docker's hosts give: a kernel's own 4096 is too few for a server.
const OPEN_FILES: Limit = Limit {
    resource: libc::RLIMIT_NOFILE,
    soft: 1024,
    hard: 524_288,
};

/// Starts the process; it runs its command when this returns.
pub fn spawn(
    wanted: &Process,
    user: &User,
    streams: &[OwnedFd; 3],
) -> Result<libc::pid_t, Failure> {
    let command = wanted.argv.first().map_or(&b""[..], Vec::as_slice);
    let strings = |list: &[Vec<u8>]| {
        list.iter()
            .map(|s| sys::string(s))
            .collect::<sys::Result<_>>()
    };
    let files: Vec<CString> =
        strings(&candidates(command, &wanted.env)).at(Stage::Exec, command)?;
    let argv: Vec<CString> = strings(&wanted.argv).at(Stage::Exec, command)?;
    let env: Vec<CString> = strings(&environment(wanted, user)).at(Stage::Exec, command)?;
    make_directory(&wanted.cwd).at(Stage::Workdir, &wanted.cwd)?;
    let cwd = sys::string(&wanted.cwd).at(Stage::Workdir, &wanted.cwd)?;
    let limits = limits(&wanted.limits);
    let plan = Plan {
        files: &files,
        argv: &argv,
        env: &env,
        cwd: &cwd,
        uid: user.uid,
        gid: user.gid,
        groups: &user.groups,
        limits: &limits,
        streams,
    };
    sys::spawn::spawn(&plan).map_err(|(step, Errno(errno))| {
        let (stage, detail) = match step {
            Step::Clone | Step::Session => (Stage::Fork, command),
            Step::Streams => (Stage::Stream, command),
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

fn environment(wanted: &Process, user: &User) -> Vec<Vec<u8>> {
    let mut env = wanted.env.clone();
    if !env.iter().any(|pair| pair.starts_with(b"HOME=")) {
        env.push([b"HOME=", user.home.as_slice()].concat());
    }
    env
}

fn limits(wanted: &[Limit]) -> Vec<Limit> {
    let own = wanted
        .iter()
        .any(|limit| limit.resource == OPEN_FILES.resource);
    let default = (!own).then_some(OPEN_FILES);
    default.into_iter().chain(wanted.iter().copied()).collect()
}
