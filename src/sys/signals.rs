//! The signals that a user sends to `husk run`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::Arc;
use std::thread;

use signal_hook::flag;
use signal_hook::iterator::Signals;

/// From now on gives each of `numbers` to `deliver`, on a thread of its own, instead of letting it
/// end the process.
pub fn deliver(numbers: &[u8], deliver: impl Fn(u8) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new(numbers.iter().map(|number| i32::from(*number)))?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for number in signals.forever() {
                if let Ok(number) = u8::try_from(number) {
                    deliver(number);
                }
            }
        })?;
    Ok(())
}

/// From now on a file that grows beyond this process's limit is an error, and not its end.
pub fn survive_long_files() -> io::Result<()> {
    flag::register(libc::SIGXFSZ, Arc::default()).map(drop)
}

/// The next signal of a signalfd, if there is one.
pub fn take(from: &OwnedFd) -> Option<u8> {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    let mut from = File::from(from.try_clone().ok()?);
    from.read_exact(&mut info).ok()?;
    // The number is the first field, and small.
    Some(info[0])
}

/// Ends the ignoring of signals, which an exec does not: of SIGPIPE, by Rust's own start, and of what
/// whoever started this process ignores, as nohup and a shell's `&` do. A shell cannot even trap a
/// signal that it was started without.
pub fn heed_all() -> io::Result<()> {
    (1..=libc::SIGRTMAX()).try_for_each(heed)
}

/// The same, but a write to a pipe that nobody reads stays an error: for this process's own code.
pub fn heed_all_but_pipe() -> io::Result<()> {
    let mut numbers = (1..=libc::SIGRTMAX()).filter(|number| *number != libc::SIGPIPE);
    numbers.try_for_each(heed)
}

fn heed(number: i32) -> io::Result<()> {
    /// What the kernel calls a sigaction: a handler, flags, and two things that only a handler needs. The
    /// C library's own call refuses two numbers, which can be ignored all the same.
    type Action = [usize; 4];
    const DEFAULT: Action = [libc::SIG_DFL, 0, 0, 0];
    let mut action = DEFAULT;
    // SAFETY: nothing is set, and `action` has room for what is written.
    let asked = unsafe {
        let nothing = ptr::null::<Action>();
        let set = size_of::<u64>();
        libc::syscall(libc::SYS_rt_sigaction, number, nothing, &mut action, set)
    };
    if asked != 0 || action[0] != libc::SIG_IGN {
        return Ok(());
    }
    // SAFETY: no handler is installed, and none was.
    let heeded = unsafe {
        let nowhere = ptr::null_mut::<Action>();
        let set = size_of::<u64>();
        libc::syscall(libc::SYS_rt_sigaction, number, &DEFAULT, nowhere, set)
    };
    match heeded {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
