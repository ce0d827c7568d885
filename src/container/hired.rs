//! A command beside the workload of a container that another runtime made: only that runtime knows what is behind its first process, and
//! so it is asked (`runc exec`). A tenant asks it, and has the command for a child as it has one of its own.
//!
//! ```text
//!  the keeper                    the tenant                             the runtime
//!    ├── Order, files, Exec ────────▶ ├─ finds the user: in the container's mounts, and comes back
//!    │                                ├── exec --detach ─────────────────▶ ├─ the command
//!    │ ◀── Started, process ──────────┤ ◀── its number, its terminal ──────┘
//!    │ ◀── Exited ────────────────────┤
//! ```

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use husk_init::job::Process;
use husk_init::user::User;
use husk_init::workload;
use rustix::fs::Mode;
use rustix::process::{getpid, umask};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};

use super::config;
use super::console::Socket;
use super::error::Error;
use super::program::{Hired, Program};
use super::root::look_for;
use super::running::Init;
use super::streams::give;
use super::tenant::{Ending, Ordered, Terms, announce, find, wait_for_end};
use crate::sys::seqpacket::Seqpacket;

/// Has `made`'s runtime run what was ordered, and tells the keeper of it to its end.
pub fn live(line: &Seqpacket, mut made: Program, ordered: Ordered) -> Result<(), Ending> {
    let Ordered {
        terms,
        process,
        init,
        streams,
        ..
    } = ordered;
    config::is_text(&process).map_err(Error::NotText)?;
    let (user, program) = look(&init, &process, terms)?;
    let wanted = config::process(&process, (&user, &program), &process.limits, terms);
    // Beside others, of which each has its own.
    let own = getpid().as_raw_nonzero();
    let place = |kind: &str| made.bundle.join(format!("{kind}-{own}"));
    let (order, pid_file, log) = (place("exec"), place("pid"), place("log"));
    fs::write(&order, wanted.to_string())?;
    let socket = process.terminal.map(|_| Socket::listen(&place("tty")));
    let socket = socket.transpose()?;
    let streams = match socket {
        Some(_) => nothing()?,
        None => <[OwnedFd; 3]>::try_from(streams)
            .map_err(|_| io::Error::other("it came without its streams"))?,
    };
    streams.iter().for_each(|stream| give(stream, user.uid));
    made.log.clone_from(&log);
    let hired = Hired {
        process: &order,
        pid_file: &pid_file,
        console: socket.as_ref().map(|socket| socket.path.as_path()),
    };
    let hired = made.exec(&hired, streams);
    let master = match (&hired, &socket, process.terminal) {
        (Ok(_), Some(socket), Some(size)) => {
            Some(socket.take(size, process.stdin, user.uid)?.into_master())
        }
        _ => None,
    };
    let console = socket.as_ref().map(|socket| &socket.path);
    for path in [&order, &pid_file, &log].into_iter().chain(console) {
        // What is left goes with the container's other files.
        let _left = fs::remove_file(path);
    }
    let command = Init::of(hired?)?;
    announce(line, &command, master);
    wait_for_end(line, &command)
}

/// Who is to run it, and what: in the container's own files, where this process is for a moment. Nobody there sees it, it has no
/// directory open, and no link leads out.
fn look(
    init: &OwnedFd,
    process: &Process,
    terms: Terms,
) -> Result<(User, workload::Program), Ending> {
    let back = File::open("/proc/self/ns/mnt")?;
    let mask = umask(Mode::empty());
    // This is the only thread, so that root and working directory are nobody else's.
    move_into_thread_name_spaces(init.as_fd(), ThreadNameSpaceType::MOUNT)?;
    let found = find(process, terms).and_then(|(user, program)| {
        look_for(&program, &process.argv)?;
        Ok((user, program))
    });
    move_into_link_name_space(back.as_fd(), Some(LinkNameSpaceType::Mount))?;
    umask(mask);
    found
}

/// Streams for a runtime whose command has a terminal.
fn nothing() -> io::Result<[OwnedFd; 3]> {
    let open = || File::options().read(true).write(true).open("/dev/null");
    Ok([open()?.into(), open()?.into(), open()?.into()])
}
