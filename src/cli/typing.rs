//! A user who types to something in a machine: keys, and the size of the terminal.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process;
use std::sync::Arc;
use std::thread;

use crate::machines::{Line, Request};
use crate::spec::{DetachKeys, Signal};
use crate::sys::{signals, terminal};

/// What is typed goes to `keyboard`, on a thread of its own, until the keys come that leave it alone: that is
/// the end of this process.
pub fn type_on(mut keyboard: File, mut keys: DetachKeys) -> io::Result<()> {
    let typist = thread::Builder::new().name("typist".to_owned());
    typist.spawn(move || {
        let mut typed = [0; 4096];
        while let Ok(count @ 1..) = io::stdin().read(&mut typed) {
            let (passed, left) = keys.pass(&typed[..count]);
            if keyboard.write_all(&passed).is_err() {
                return;
            }
            if left {
                terminal::restore();
                process::exit(0);
            }
        }
    })?;
    Ok(())
}

/// The terminal at the other end of `line` has the size of ours, from now on.
pub fn follow_size(line: &Arc<Line>) -> io::Result<()> {
    let line = Arc::clone(line);
    let tell = move || {
        if let Some(size) = terminal::size() {
            line.send(&Request::Resize {
                rows: size.rows,
                columns: size.columns,
            });
        }
    };
    tell();
    signals::deliver(&[Signal::WINCH.number()], move |_| tell())
}
