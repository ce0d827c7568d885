//! A timer on the processor time that one thread uses (timer_create(2), CLOCK_THREAD_CPUTIME_ID): its signal
//! interrupts what the thread waits in, and does nothing else.

use std::io;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::time::Duration;

use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

/// Interrupts the thread that made it, whenever that has used so much.
#[derive(Debug)]
pub struct CpuTimer(libc::timer_t);

/// A thread of this process that can be interrupted.
#[derive(Debug)]
pub struct Interrupted(libc::pid_t);

impl Interrupted {
    /// The calling one.
    pub fn this_thread() -> Self {
        Self(rustix::thread::gettid().as_raw_nonzero().get())
    }

    /// Interrupts what it waits in, as a timer of its own would.
    pub fn interrupt(&self) -> io::Result<()> {
        let signal = SIGRTMIN();
        register_signal_handler(signal, interrupt)?;
        let process = rustix::process::getpid().as_raw_nonzero().get();
        // SAFETY: numbers only. The signal has a handler, so it ends nobody; and a thread of another process
        // is never meant.
        match unsafe { libc::syscall(libc::SYS_tgkill, process, self.0, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

extern "C" fn interrupt(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

impl CpuTimer {
    /// A timer for the calling thread, which is not armed.
    pub fn of_this_thread() -> io::Result<Self> {
        let signal = SIGRTMIN();
        register_signal_handler(signal, interrupt)?;
        // SAFETY: a sigevent is plain numbers and pointers, for which zero is a value.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let mut timer = MaybeUninit::uninit();
        let clock = libc::CLOCK_THREAD_CPUTIME_ID;
        // SAFETY: both pointers are to live values of the types that the call has.
        if unsafe { libc::timer_create(clock, &mut event, timer.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above succeeded, so the number is there.
        Ok(Self(unsafe { timer.assume_init() }))
    }

    /// Goes off when the thread has used `first` from now on, and whenever it has used `again` more.
    pub fn arm(&self, first: Duration, again: Duration) -> io::Result<()> {
        let times = libc::itimerspec {
            it_value: timespec(first),
            it_interval: timespec(again),
        };
        // SAFETY: the timer is ours until it is dropped, and the old times are not asked for.
        match unsafe { libc::timer_settime(self.0, 0, &times, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for CpuTimer {
    fn drop(&mut self) {
        // SAFETY: the timer is ours, and nobody uses it after this.
        unsafe { libc::timer_delete(self.0) };
    }
}

fn timespec(length: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(length.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_sleeps_is_left_alone_and_one_that_computes_lives_through_it() {
        let test = thread::spawn(|| {
            let timer = CpuTimer::of_this_thread().unwrap();
            timer
                .arm(Duration::from_millis(20), Duration::from_millis(2))
                .unwrap();
            let begun = Instant::now();
            // SAFETY: nothing is pointed to.
            let interrupted = unsafe { libc::poll(ptr::null_mut(), 0, 100) };
            assert!(interrupted == 0 && begun.elapsed() >= Duration::from_millis(100));
            let busy = Instant::now();
            while busy.elapsed() < Duration::from_millis(100) {}
        });
        test.join().unwrap();
    }
}
