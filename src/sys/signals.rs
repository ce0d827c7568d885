//! The signals that a user sends to `husk run`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::thread;

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

/// The next signal of a signalfd, if there is one.
pub fn take(from: &OwnedFd) -> Option<u8> {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    let mut from = File::from(from.try_clone().ok()?);
    from.read_exact(&mut info).ok()?;
    // The number is the first field, and small.
    Some(info[0])
}

/// Lets a write to a pipe that nobody reads end the process again, as programs expect it: Rust's own
/// start has it ignored, and an exec does not change that.
pub fn restore_pipe() -> io::Result<()> {
    // SAFETY: no handler is installed, and none was.
    match unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
