//! Another runtime, by its command line: runc's, which crun, youki and kata share.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{getpid, set_child_subreaper};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::create::Bundle;
use super::error::Error;
use crate::spec::sentence::printable;

/// A container that such a program made, and that waits for the order to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    runtime: PathBuf,
    state: PathBuf,
    /// Where it was made.
    pub bundle: PathBuf,
    /// Where the runtime says why it cannot.
    pub log: PathBuf,
    id: String,
    /// Its first process.
    pub pid: i32,
}

/// What a runtime is told of one more command.
#[derive(Debug)]
pub struct Hired<'a> {
    /// The file with OCI's `process`.
    pub process: &'a Path,
    /// The file for its number.
    pub pid_file: &'a Path,
    /// Where its terminal is to be sent, if it gets one.
    pub console: Option<&'a Path>,
}

impl Program {
    /// Has `runtime` make the container of `bundle`, with `streams` as its standard ones.
    pub fn create(
        runtime: &Path,
        bundle: &Bundle<'_>,
        streams: [OwnedFd; 3],
    ) -> Result<Self, Error> {
        // The container's first process outlives the program that makes it: it shall be our child.
        set_child_subreaper(Some(getpid())).map_err(|errno| Error::Process(errno.into()))?;
        let mut made = Self {
            runtime: runtime.to_owned(),
            state: bundle.state.to_owned(),
            bundle: bundle.path.to_owned(),
            log: bundle.path.join("log"),
            id: bundle.id.to_owned(),
            pid: 0,
        };
        let pid_file = bundle.path.join("pid");
        let [stdin, stdout, stderr] = streams.map(Stdio::from);
        let mut create = made.command("create");
        create.arg("--bundle").arg(bundle.path);
        create.arg("--pid-file").arg(&pid_file);
        if let Some(console) = bundle.console {
            create.arg("--console-socket").arg(console);
        }
        create.stdin(stdin).stdout(stdout).stderr(stderr);
        made.obey(create, "create")?;
        made.pid = made.read_pid(&pid_file, "create")?;
        Ok(made)
    }

    /// Lets it go.
    pub fn start(&mut self) -> Result<(), Error> {
        let mut start = self.command("start");
        start
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.obey(start, "start")
    }

    /// Has the runtime run one more command in it, with `streams` as its standard ones; its process, a child of ours.
    pub fn exec(&self, hired: &Hired<'_>, streams: [OwnedFd; 3]) -> Result<i32, Error> {
        const VERB: &str = "run a command in";
        set_child_subreaper(Some(getpid())).map_err(|errno| Error::Process(errno.into()))?;
        let [stdin, stdout, stderr] = streams.map(Stdio::from);
        let mut exec = self.command("exec");
        exec.arg("--detach").arg("--process").arg(hired.process);
        exec.arg("--pid-file").arg(hired.pid_file);
        if let Some(console) = hired.console {
            exec.arg("--console-socket").arg(console);
        }
        exec.stdin(stdin).stdout(stdout).stderr(stderr);
        self.obey(exec, VERB)?;
        self.read_pid(hired.pid_file, VERB)
    }

    fn read_pid(&self, file: &Path, verb: &'static str) -> Result<i32, Error> {
        let pid = fs::read_to_string(file).map_err(Error::Process)?;
        let pid = pid.trim().parse();
        pid.map_err(|_| self.failed(verb, "it names no process"))
    }

    /// Has the runtime forget it.
    pub fn delete(&self) {
        let mut delete = self.command("delete");
        delete.arg("--force");
        delete
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // What it leaves is in the workspace, or a control group, and both are removed.
        let _left = self.obey(delete, "delete");
    }

    fn command(&self, verb: &'static str) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(&self.state);
        command
            .arg("--log")
            .arg(&self.log)
            .args(["--log-format", "json"]);
        command.arg(verb);
        command
    }

    fn obey(&self, mut command: Command, verb: &'static str) -> Result<(), Error> {
        command.arg(&self.id);
        let status = command.status().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoRuntime(self.runtime.clone()),
            _ => self.failed(verb, &error.to_string()),
        })?;
        if status.success() {
            return Ok(());
        }
        let said = self.last_words().unwrap_or_else(|| status.to_string());
        Err(self.failed(verb, &said))
    }

    /// The last error of its log: a JSON object per line.
    fn last_words(&self) -> Option<String> {
        /// More of a log than this is not read.
        const MOST: u64 = 1 << 20;
        let mut log = String::new();
        let file = fs::File::open(&self.log).ok()?;
        file.take(MOST).read_to_string(&mut log).ok()?;
        let lines = log
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut errors = lines.filter(|line: &Value| line["level"] == "error");
        let message = errors.next()?;
        Some(printable(message["msg"].as_str()?.as_bytes()))
    }

    fn failed(&self, verb: &'static str, text: &str) -> Error {
        Error::Runtime {
            runtime: self.runtime.display().to_string(),
            verb,
            text: text.to_owned(),
        }
    }
}

/// The program that `runtime` names, found as a shell would.
pub fn find(runtime: &Path) -> Result<PathBuf, Error> {
    let absent = || Error::NoRuntime(runtime.to_owned());
    if runtime.components().count() > 1 {
        return if runtime.is_file() {
            Ok(runtime.to_owned())
        } else {
            Err(absent())
        };
    }
    // Administrators' programs are not in everybody's PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut places = folders.map(|folder| folder.join(runtime));
    places.find(|place| place.is_file()).ok_or_else(absent)
}
