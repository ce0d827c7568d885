//! The user's terminal: raw while a workload has one of its own behind it, and as it was before,
//! however this process ends; for an end by SIGKILL nothing can be done.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use husk_init::job::Size;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use super::lock::lock;

/// What a terminal was like before it was made raw. Here, because a panic of any thread ends the
/// process without dropping anything.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Keeps the terminal raw until it is dropped: every key is a byte for the workload, and what the
/// workload shows is shown as it is.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Makes `terminal` raw. One at a time.
    pub fn enter(terminal: &impl AsFd) -> io::Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        *lock(&BEFORE) = Some((terminal.try_clone()?, before));
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes the terminal again what it was before [`Raw`], if it is raw.
pub fn restore() {
    // A panic while it is made raw finds it locked, and restores nothing that was not changed yet.
    let Ok(mut before) = BEFORE.try_lock() else {
        return;
    };
    if let Some((terminal, attributes)) = before.take() {
        // Not after what is on its way out: a terminal that was stopped would be waited for.
        let _gone = tcsetattr(&terminal, OptionalActions::Now, &attributes);
    }
}

/// The size of the terminal that this process writes to, or else reads from.
pub fn size() -> Option<Size> {
    let output = tcgetwinsize(io::stdout());
    let size = output.or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    Some(Size {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Whether this process reads from a terminal.
pub fn is_stdin() -> bool {
    isatty(io::stdin())
}

#[cfg(test)]
mod tests {
    use husk_init::sys::terminal::{open_master, open_slave};
    use rustix::termios::LocalModes;

    use super::*;

    #[test]
    fn a_raw_terminal_becomes_what_it_was() {
        let master = open_master(c"/dev/ptmx").unwrap();
        let slave = open_slave(&master).unwrap();
        let modes = || tcgetattr(&slave).unwrap();
        let before = format!("{:?}", modes());
        let raw = Raw::enter(&slave).unwrap();
        let keys = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        assert!(!modes().local_modes.intersects(keys));
        drop(raw);
        assert_eq!(format!("{:?}", modes()), before);
        restore();
        assert_eq!(format!("{:?}", modes()), before);
    }
}
