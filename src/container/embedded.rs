//! The runtime that husk carries: libcontainer, which has its only door here.
//!
//! It makes the container's first process; what that process becomes is ours: the last steps before the
//! workload's own code are taken by init's code, which says what failed by errno and not in prose.

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use husk_init::exit::{Failure, Stage};
use husk_init::sys::spawn::Lists;
use husk_init::sys::wait;
use husk_init::workload::Program;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    PidfdFlags, Signal as KernelSignal, getpid, pidfd_open, set_parent_process_death_signal,
};

use super::create::Bundle;
use super::error::Error;
use super::seccomp;
use crate::spec::sentence::sentence;
use crate::sys::signals;

/// A container that waits for the order to start.
pub struct Embedded {
    container: Container,
    /// Its first process.
    pub pid: i32,
    /// Ends without a byte when the workload is executed, or says why it was not.
    report: PipeReader,
    command: Vec<u8>,
}

/// The last steps of the container's first process.
#[derive(Clone)]
struct Workload {
    program: Arc<Program>,
    filter: Arc<seccomp::Program>,
    report: Arc<PipeWriter>,
    /// Who makes the container.
    husk: Arc<OwnedFd>,
}

impl Embedded {
    /// Makes the container of `bundle`, with `streams` as its standard ones.
    pub fn create(bundle: &Bundle<'_>, streams: [OwnedFd; 3]) -> Result<Self, Error> {
        let (report, theirs) = io::pipe().map_err(Error::Process)?;
        let husk = pidfd_open(getpid(), PidfdFlags::empty());
        let husk = husk.map_err(|errno| Error::Process(errno.into()))?;
        let workload = Workload {
            program: Arc::new(bundle.program.clone()),
            filter: Arc::new(seccomp::compile()),
            report: Arc::new(theirs),
            husk: Arc::new(husk),
        };
        let container =
            build(bundle, streams, workload).map_err(|error| failed("create", &error))?;
        let pid = container.pid().map_or(0, |pid| pid.as_raw());
        Ok(Self {
            container,
            pid,
            report,
            command: bundle.command.to_vec(),
        })
    }

    /// Lets it go; comes back when the workload's own code runs, or could not.
    pub fn start(&mut self) -> Result<(), Error> {
        self.container
            .start()
            .map_err(|error| failed("start", &error))?;
        let mut errno = [0; 4];
        match self.report.read_exact(&mut errno) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(Error::Process(error)),
            Ok(()) => Err(Error::Refused(Failure {
                stage: Stage::Exec,
                errno: i32::from_ne_bytes(errno),
                detail: self.command.clone(),
            })),
        }
    }
}

fn build(
    bundle: &Bundle<'_>,
    streams: [OwnedFd; 3],
    workload: Workload,
) -> Result<Container, libcontainer::error::LibcontainerError> {
    let [stdin, stdout, stderr] = streams;
    ContainerBuilder::new(bundle.id.to_owned(), SyscallType::Linux)
        .with_root_path(bundle.state.to_owned())?
        .with_executor(workload)
        .with_stdin(stdin)
        .with_stdout(stdout)
        .with_stderr(stderr)
        .with_console_socket(bundle.console)
        .validate_id()?
        .as_init(bundle.path.to_owned())
        .with_systemd(false)
        .with_detach(true)
        .build()
}

impl Executor for Workload {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let lists = Lists::of(&self.program);
        // What husk's own process holds back is not for the workload to miss.
        let ready = wait::block(&wait::set_of(&[])).map_err(|errno| errno.0);
        // From the order to start on, the leash has this process.
        let untied =
            || set_parent_process_death_signal(None).map_err(rustix::io::Errno::raw_os_error);
        let errno = ready
            .and_then(|()| untied())
            .and_then(|()| signals::heed_all().map_err(errno_of))
            .and_then(|()| seccomp::apply(&self.filter).map_err(errno_of))
            .map_or_else(|errno| errno, |()| lists.execute().0);
        // Nobody is left to hear it when husk is gone.
        let _gone = io::Write::write_all(&mut &*self.report, &errno.to_ne_bytes());
        Err(ExecutorError::InvalidArg)
    }

    /// Before the order to start is waited for: from a husk that was killed meanwhile it would never come.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        let orphaned = |why: &str| ExecutorValidationError::ArgValidationError(why.to_owned());
        set_parent_process_death_signal(Some(KernelSignal::KILL))
            .map_err(|errno| orphaned(&errno.to_string()))?;
        // It may have been killed before that.
        let at_once = Timespec::default();
        match poll(
            &mut [PollFd::new(&*self.husk, PollFlags::IN)],
            Some(&at_once),
        ) {
            Ok(0) => Ok(()),
            _ => Err(orphaned("husk is gone")),
        }
    }

    /// The environment goes to execve.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

fn errno_of(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn failed(verb: &'static str, error: &libcontainer::error::LibcontainerError) -> Error {
    Error::Runtime {
        runtime: "the embedded runtime".to_owned(),
        verb,
        text: sentence(error),
    }
}
