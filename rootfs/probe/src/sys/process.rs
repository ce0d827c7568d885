//! Child processes by fork, as shells and servers make them.
//!
//! A child uses only what stood before the fork, and makes only system calls: another thread's lock
//! would stay locked in it for ever.

use std::ffi::{CStr, c_char, c_void};
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use husk_init::sys::Errno;
use husk_init::sys::spawn::Lists;
use husk_init::sys::wait;
use husk_init::workload::Program;

use super::check;

/// The exit status of a child that could not execute its program.
const NOT_EXECUTED: libc::c_int = 127;

/// A child that has not been waited for. Dropped, it is killed.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
}

impl Child {
    /// Waits for its end; an error unless it succeeded.
    pub fn wait(self) -> io::Result<()> {
        let status = reap(self.pid)?;
        // It is gone: nobody is left to kill.
        mem::forget(self);
        match status {
            0 => Ok(()),
            _ => Err(io::Error::other("the child failed")),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: no memory is passed; the pid is a child that nobody waited for, so it is no other's.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        // It is gone in any case.
        let _status = reap(self.pid);
    }
}

/// Forks a child that executes `program` with one argument and no environment.
pub fn fork_exec(program: &CStr, argument: &CStr) -> io::Result<Child> {
    let argv: [*const c_char; 3] = [program.as_ptr(), argument.as_ptr(), ptr::null()];
    let env: [*const c_char; 1] = [ptr::null()];
    fork(|| {
        // SAFETY: path and lists are NUL-terminated, and the child has its own copy of them.
        unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        NOT_EXECUTED
    })
}

/// Forks a child that becomes `program`, with the standard streams of this process, and no signal held
/// back or ignored. It is the caller's to wait for; an error is what execve said, or the fork.
pub fn start(program: &Program) -> io::Result<libc::pid_t> {
    let lists = Lists::of(program);
    let (mut answer, failure) = io::pipe()?;
    let child = fork(|| {
        // SAFETY: the default action is no function of this program's; Rust's start chose to ignore it.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        // An empty set is always taken.
        let _held = wait::block(&wait::set_of(&[]));
        let Errno(errno) = lists.execute();
        let errno = errno.to_ne_bytes();
        // SAFETY: the bytes are readable for their whole length.
        unsafe { libc::write(failure.as_raw_fd(), errno.as_ptr().cast(), errno.len()) };
        NOT_EXECUTED
    })?;
    drop(failure);
    let mut errno = [0; 4];
    if answer.read_exact(&mut errno).is_ok() {
        return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)));
    }
    // The pipe's end went with the program that made it.
    let pid = child.pid;
    mem::forget(child);
    Ok(pid)
}

/// Has every orphan among the children's children become a child of this process.
pub fn adopt_orphans() -> io::Result<()> {
    // SAFETY: the operation takes a number and no memory.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }).map(drop)
}

/// Forks a child that sends back every byte, until its input ends. It closes `others`: the ends that
/// are the parent's.
pub fn fork_echo(
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    others: [BorrowedFd<'_>; 2],
) -> io::Result<Child> {
    fork(|| {
        for other in others {
            // SAFETY: in the child the descriptor is a copy that only this function uses.
            unsafe { libc::close(other.as_raw_fd()) };
        }
        let mut byte = 0u8;
        let data: *mut c_void = ptr::from_mut(&mut byte).cast();
        loop {
            // SAFETY: `data` is one writable byte.
            let taken = unsafe { libc::read(input.as_raw_fd(), data, 1) };
            if taken != 1 {
                return 0;
            }
            // SAFETY: `data` is one readable byte.
            let given = unsafe { libc::write(output.as_raw_fd(), data, 1) };
            if given != 1 {
                return 1;
            }
        }
    })
}

/// Forks; the child ends with the status that `live` returns.
fn fork(live: impl FnOnce() -> libc::c_int) -> io::Result<Child> {
    // SAFETY: the callers in this file give a `live` that only makes system calls.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        let status = live();
        // SAFETY: ends this process only, without running what the parent registered for its exit.
        unsafe { libc::_exit(status) };
    }
    Ok(Child { pid })
}

fn reap(pid: libc::pid_t) -> io::Result<libc::c_int> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is an integer that outlives the call.
        match check(unsafe { libc::waitpid(pid, &mut status, 0) }) {
            Ok(_) => return Ok(status),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
