//! A child that shares this process's memory until it executes a program: nothing is copied,
//! unlike with fork, and what went wrong is simply written where the parent reads it.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use crate::job::Limit;
use crate::workload::{Program, UMASK};

use super::{Errno, Result, check, wait};

/// What the child is to become.
#[derive(Debug)]
pub struct Plan<'a> {
    /// What it executes.
    pub program: &'a Program,
    /// Working directory.
    pub cwd: &'a CStr,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups; none to name where nobody may name any (user_namespaces(7), "setgroups").
    pub groups: Option<&'a [u32]>,
    /// Resource limits.
    pub limits: &'a [Limit],
    /// Its descriptors 0, 1 and 2.
    pub streams: &'a [OwnedFd; 3],
    /// Whether they are a terminal, which is to control the child's session.
    pub on_terminal: bool,
    /// Control groups that it joins, by their `cgroup.procs`, open to be written.
    pub cgroups: &'a [OwnedFd],
    /// What holds it back, besides being its user.
    pub confine: Option<&'a dyn Confine>,
}

/// What a child does to itself last, when it has become its user: system calls, and nothing that allocates.
pub trait Confine: fmt::Debug {
    /// Does it.
    fn confine(&self) -> Result<()>;
}

/// What the child was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Being made.
    Clone,
    /// Joining its control groups.
    Cgroup,
    /// Leaving init's session.
    Session,
    /// Taking control of its terminal.
    Terminal,
    /// Taking its streams.
    Streams,
    /// Setting its limits.
    Limit,
    /// Entering its working directory.
    Workdir,
    /// Becoming its user.
    User,
    /// Being held back.
    Confine,
    /// Executing its command.
    Exec,
}

/// What parent and child share.
struct Shared<'a> {
    plan: &'a Plan<'a>,
    lists: Lists<'a>,
    failed: Option<(Step, Errno)>,
}

/// 16 bytes each: 64 KiB of stack for a function that calls nothing deep.
const STACK: usize = 4096;

/// Starts a child as planned; it has executed its command when this returns.
pub fn spawn(plan: &Plan<'_>) -> std::result::Result<libc::pid_t, (Step, Errno)> {
    let mut stack = vec![MaybeUninit::<u128>::uninit(); STACK];
    let mut shared = Shared {
        plan,
        lists: Lists::of(plan.program),
        failed: None,
    };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let top = stack.as_mut_ptr_range().end.cast();
    let argument = ptr::from_mut(&mut shared).cast();
    // SAFETY: `top` is the aligned end of memory that only the child uses. CLONE_VFORK keeps this
    // only thread waiting, so `stack` and `shared` outlive the child's use of them and nobody else
    // touches them; `child` makes system calls and writes one field, and takes no lock.
    let pid = check(unsafe { libc::clone(child, top, flags, argument) });
    let pid = pid.map_err(|error| (Step::Clone, error))?;
    match shared.failed {
        Some(failed) => {
            wait::gone(pid);
            Err(failed)
        }
        None => Ok(pid),
    }
}

/// A program as execve reads it: lists of pointers that end with a null.
#[derive(Debug)]
pub struct Lists<'a> {
    program: &'a Program,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
}

impl<'a> Lists<'a> {
    /// The lists of `program`.
    pub fn of(program: &'a Program) -> Self {
        let pointers = |strings: &[CString]| {
            let pointers = strings.iter().map(|s| s.as_ptr());
            pointers.chain([ptr::null()]).collect()
        };
        Self {
            program,
            argv: pointers(&program.argv),
            env: pointers(&program.env),
        }
    }

    /// Becomes the program: tries each file, and comes back only with what the last interesting
    /// one answered, as execvp does. Allocates nothing.
    pub fn execute(&self) -> Errno {
        let mut answer = Errno(libc::ENOENT);
        for file in &self.program.files {
            // SAFETY: the path and what both lists point to are NUL-terminated and borrowed.
            unsafe { libc::execve(file.as_ptr(), self.argv.as_ptr(), self.env.as_ptr()) };
            match super::last() {
                Errno(libc::ENOENT | libc::ENOTDIR) => {}
                Errno(libc::EACCES) => answer = Errno(libc::EACCES),
                other => return other,
            }
        }
        answer
    }
}

extern "C" fn child(argument: *mut c_void) -> c_int {
    let shared: *mut Shared<'_> = argument.cast();
    // SAFETY: `spawn` passes a live `Shared` that nobody else touches meanwhile.
    let shared = unsafe { &mut *shared };
    shared.failed = become_it(shared).err();
    // SAFETY: ends this process only, without running what the parent registered for its exit.
    unsafe { libc::_exit(127) }
}

/// Returns only with what failed.
fn become_it(shared: &Shared<'_>) -> std::result::Result<(), (Step, Errno)> {
    let plan = shared.plan;
    let at = |step: Step| move |error: Errno| (step, error);
    for group in plan.cgroups {
        // Zero is who writes.
        super::file::write(group, b"0").map_err(at(Step::Cgroup))?;
    }
    // SAFETY: no memory is passed.
    check(unsafe { libc::setsid() }).map_err(at(Step::Session))?;
    wait::block(&wait::set_of(&[])).map_err(at(Step::Session))?;
    // SAFETY: takes an integer, cannot fail.
    unsafe { libc::umask(UMASK) };
    for (target, stream) in (0..).zip(plan.streams) {
        // SAFETY: no memory is passed.
        check(unsafe { libc::dup2(stream.as_raw_fd(), target) }).map_err(at(Step::Streams))?;
    }
    if plan.on_terminal {
        super::terminal::take_control(&plan.streams[0]).map_err(at(Step::Terminal))?;
    }
    plan.limits
        .iter()
        .try_for_each(set_limit)
        .map_err(at(Step::Limit))?;
    super::mount::chdir(plan.cwd).map_err(at(Step::Workdir))?;
    take_user(plan).map_err(at(Step::User))?;
    if let Some(confine) = plan.confine {
        confine.confine().map_err(at(Step::Confine))?;
    }
    Err((Step::Exec, shared.lists.execute()))
}

fn set_limit(limit: &Limit) -> Result<()> {
    let value = libc::rlimit {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: `value` is a filled structure that outlives the call.
    check(unsafe { libc::setrlimit(limit.resource, &value) }).map(drop)
}

fn take_user(plan: &Plan<'_>) -> Result<()> {
    if let Some(groups) = plan.groups {
        // SAFETY: the groups are readable for their whole length.
        check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    }
    // SAFETY: no memory is passed.
    check(unsafe { libc::setresgid(plan.gid, plan.gid, plan.gid) })?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::setresuid(plan.uid, plan.uid, plan.uid) }).map(drop)
}
