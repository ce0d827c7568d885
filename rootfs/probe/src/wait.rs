//! An instance that is up and idles: what the memory of a wall is measured by, in any image.

use std::io::{self, Write};

use crate::sys::signals;

/// Says `ready`, then waits until somebody asks it to end.
pub fn wait() -> io::Result<()> {
    let signals = signals::hold(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP])?;
    let mut out = io::stdout();
    out.write_all(b"ready\n")?;
    out.flush()?;
    signals.wait().map(drop)
}
