//! The words of ptrace(2) by which `sys::trace` follows processes. All of them are for the one thread
//! that spawned the first process.

use std::ffi::c_uint;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::{null_mut, without_provenance_mut};

use libc::{c_int, c_void, pid_t};

/// `PTRACE_GET_SYSCALL_INFO` (linux/ptrace.h, since Linux 5.3).
const GET_SYSCALL_INFO: c_uint = 0x420e;

/// `PTRACE_SYSCALL_INFO_ENTRY`.
const INFO_ENTRY: u8 = 1;

/// 64-bit mode of x86 (linux/audit.h).
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// What a process is followed through: each call, and everything it starts; it is killed when its
/// tracer ends.
const OPTIONS: c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_EXITKILL;

/// What a thread did, or is about to do, that its tracer is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It ended; the wait status.
    Ended(i32),
    /// It enters a call, or leaves one.
    Call,
    /// Its process has executed a program.
    Executed,
    /// It started a thread or a process, or begins itself.
    Started,
    /// It is about to get this signal.
    Signalled(c_int),
    /// It was stopped by a signal, as the user may stop a job.
    Stopped,
}

/// A system call at its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its number; `None` for one of 32-bit mode, whose numbers are others.
    pub number: Option<u64>,
    /// Its second argument, of which an ioctl's request is 32 bits.
    pub second: u64,
}

fn ptrace(request: c_uint, pid: pid_t, address: usize, data: *mut c_void) -> io::Result<i64> {
    let address: *mut c_void = without_provenance_mut(address);
    // SAFETY: `data` is a number, or memory of ours for as many bytes as `address` says.
    let result = unsafe { libc::ptrace(request, pid, address, data) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn number(value: c_int) -> *mut c_void {
    without_provenance_mut(usize::try_from(value).unwrap_or_default())
}

/// Starts a command, and follows it from its program's first instruction on.
pub fn spawn(mut command: Command) -> io::Result<pid_t> {
    let consent = || ptrace(libc::PTRACE_TRACEME, 0, 0, null_mut()).map(drop);
    // SAFETY: the child calls the kernel, and nothing else.
    unsafe { command.pre_exec(consent) };
    let child = pid_t::try_from(command.spawn()?.id()).map_err(io::Error::other)?;
    seize(child).inspect_err(|_| kill(child))?;
    Ok(child)
}

/// A child that consented stops when it has executed its program. But only one that was seized is left
/// stopped like any other process when a signal stops it (ptrace(2), "Group-stop"), so it is let
/// go of, stopped, and seized.
fn seize(child: pid_t) -> io::Result<()> {
    while wait_for(child)? != Event::Signalled(libc::SIGTRAP) {}
    ptrace(libc::PTRACE_DETACH, child, 0, number(libc::SIGSTOP))?;
    ptrace(libc::PTRACE_SEIZE, child, 0, number(OPTIONS))?;
    while wait_for(child)? != Event::Stopped {}
    // SAFETY: a signal touches no memory of ours.
    let woken = unsafe { libc::kill(child, libc::SIGCONT) };
    if woken != 0 {
        return Err(io::Error::last_os_error());
    }
    resume(child, 0)
}

/// Waits for an event of one child.
fn wait_for(child: pid_t) -> io::Result<Event> {
    match wait_for_any(child) {
        Ok(Some((_, Event::Ended(_))) | None) => Err(io::ErrorKind::NotFound.into()),
        Ok(Some((_, event))) => Ok(event),
        Err(error) => Err(error),
    }
}

/// Lets a stopped thread go on to its next call, with `signal` if that is not 0.
pub fn resume(pid: pid_t, signal: c_int) -> io::Result<()> {
    ptrace(libc::PTRACE_SYSCALL, pid, 0, number(signal)).map(drop)
}

/// Leaves a thread stopped by a signal as it is, until another one wakes it.
pub fn leave_stopped(pid: pid_t) -> io::Result<()> {
    ptrace(libc::PTRACE_LISTEN, pid, 0, null_mut()).map(drop)
}

/// The number that a thread had before its process executed a program.
pub fn former(pid: pid_t) -> io::Result<pid_t> {
    let mut message: libc::c_ulong = 0;
    ptrace(libc::PTRACE_GETEVENTMSG, pid, 0, (&raw mut message).cast())?;
    pid_t::try_from(message).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The call that a thread is about to enter; `None` when it leaves one.
pub fn entered(pid: pid_t) -> io::Result<Option<Call>> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    ptrace(GET_SYSCALL_INFO, pid, size, info.as_mut_ptr().cast())?;
    // SAFETY: all zeros is a value of it, and so is what the kernel wrote.
    let info = unsafe { info.assume_init() };
    if info.op != INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: this is the union's member at an entry.
    let entry = unsafe { info.u.entry };
    Ok(Some(Call {
        number: (info.arch == AUDIT_ARCH_X86_64).then_some(entry.nr),
        second: entry.args[1],
    }))
}

/// Waits for the next event of any thread that this one follows; `None` when there are no more.
/// A signal to this thread interrupts it.
pub fn wait() -> io::Result<Option<(pid_t, Event)>> {
    wait_for_any(-1)
}

fn wait_for_any(which: pid_t) -> io::Result<Option<(pid_t, Event)>> {
    let mut status = 0;
    // SAFETY: the kernel writes one number.
    let pid = unsafe { libc::waitpid(which, &mut status, libc::__WALL | libc::__WNOTHREAD) };
    if pid < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ECHILD) => Ok(None),
            _ => Err(error),
        };
    }
    Ok(Some((pid, decode(status))))
}

fn decode(status: c_int) -> Event {
    if !libc::WIFSTOPPED(status) {
        return Event::Ended(status);
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Event::Call,
        0 => Event::Signalled(signal),
        libc::PTRACE_EVENT_EXEC => Event::Executed,
        libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => Event::Stopped,
        _ => Event::Started,
    }
}

/// Kills the process of a thread.
pub fn kill(pid: pid_t) {
    // SAFETY: a signal touches no memory of ours.
    let _dead = unsafe { libc::kill(pid, libc::SIGKILL) };
}
