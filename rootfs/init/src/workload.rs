//! The workload, as execve and setrlimit take it.

use std::ffi::CString;

use crate::command::candidates;
use crate::exit::{Failure, Stage};
use crate::failure::At;
use crate::job::{Limit, Process};
use crate::sys;
use crate::user::User;

/// What docker's hosts give: a kernel's own 4096 is too few for a server.
const OPEN_FILES: Limit = Limit {
    resource: libc::RLIMIT_NOFILE,
    soft: 1024,
    hard: 524_288,
};

/// Permissions that a workload's new files lose (OCI runtimes' default), whatever whoever starts it has.
pub const UMASK: libc::mode_t = 0o022;

/// What execve is told.
#[derive(Debug, Clone)]
pub struct Program {
    /// Files to try, in order.
    pub files: Vec<CString>,
    /// Arguments.
    pub argv: Vec<CString>,
    /// Environment.
    pub env: Vec<CString>,
}

impl Program {
    /// The program of `wanted`, run by `user`.
    pub fn new(wanted: &Process, user: &User) -> Result<Self, Failure> {
        let command = wanted.argv.first().map_or(&b""[..], Vec::as_slice);
        let strings = |list: &[Vec<u8>]| {
            let strings = list.iter().map(|s| sys::string(s));
            strings.collect::<sys::Result<_>>().at(Stage::Exec, command)
        };
        Ok(Self {
            files: strings(&candidates(command, &wanted.env))?,
            argv: strings(&wanted.argv)?,
            env: strings(&environment(wanted, user))?,
        })
    }
}

fn environment(wanted: &Process, user: &User) -> Vec<Vec<u8>> {
    let mut env = wanted.env.clone();
    if !env.iter().any(|pair| pair.starts_with(b"HOME=")) {
        env.push([b"HOME=", user.home.as_slice()].concat());
    }
    env
}

/// The limits asked for, and the one that everybody gets.
pub fn limits(wanted: &[Limit]) -> Vec<Limit> {
    let own = wanted
        .iter()
        .any(|limit| limit.resource == OPEN_FILES.resource);
    let default = (!own).then_some(OPEN_FILES);
    default.into_iter().chain(wanted.iter().copied()).collect()
}
