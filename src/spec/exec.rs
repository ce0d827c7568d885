//! A command beside the workload of a machine that runs.

use husk_init::job::{Process, Size};
use serde::{Deserialize, Serialize};

use super::{size, words};

/// What is to run, as it crosses to who keeps the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exec {
    /// Program and arguments.
    #[serde(with = "words")]
    pub argv: Vec<Vec<u8>>,
    /// `KEY=VALUE` each.
    #[serde(with = "words")]
    pub env: Vec<Vec<u8>>,
    /// Working directory, absolute.
    pub workdir: String,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// Whether it reads anything.
    pub stdin: bool,
    /// The size of its terminal, if it runs on one.
    #[serde(with = "size")]
    pub terminal: Option<Size>,
    /// Whether it is a program of husk's own, by its name ([`husk_init::archive::program`]), and not the image's.
    pub own: bool,
}

impl From<Exec> for Process {
    fn from(exec: Exec) -> Self {
        Self {
            argv: exec.argv,
            env: exec.env,
            cwd: exec.workdir.into_bytes(),
            user: exec.user.into_bytes(),
            limits: Vec::new(),
            stdin: exec.stdin,
            terminal: exec.terminal,
            own: exec.own,
        }
    }
}
