//! The process of a network's switch: started with the first machine on the network, gone after the last.
//!
//! ```text
//!  who starts a machine, and has the network's lock
//!    ├── makes the socket, starts husk's binary, hands it the socket and the folder
//!    │        └── the caretaker: waits for the switch, and removes the socket after it
//!    │               └── the switch: system calls and capabilities are dropped, no path, no file but these
//!    └── connects
//! ```
//!
//! It belongs to no machine, so it has a session of its own and nobody's streams. When nobody is connected any more it
//! takes the lock, so that nobody is about to be, looks once more, and ends; the caretaker has the same lock. A switch
//! that is killed is started again by its caretaker, at the same socket, and the machines come back by themselves
//! ([`super::rejoin`]). Where that does not help, or the caretaker was killed too, a machine's keeper starts another one, or the
//! next machine does.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::setsid;
use rustix::thread::set_name;

use crate::container::confine_switch;
use crate::net::switch::Switch;
use crate::networks::{Door, LOCK, SWITCH};
use crate::spec::{Backoff, Subnets};
use crate::sys::fork::{fork, keep_only};
use crate::sys::limits::raise_open_files;
use crate::sys::seqpacket::{Listener, Message, Seqpacket};

/// The verb by which the binary becomes one. Not for people.
pub const SWITCH_VERB: &str = "switch";

/// What both processes call themselves (`argv[0]`).
const SWITCH_NAME: &str = "husk-switch";

/// How long it waits for the first to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// So often in a row it is started, where it does not live for long.
const MOST_STARTS: u32 = 10;

/// How long it waits while somebody has the lock.
const BETWEEN: Duration = Duration::from_millis(20);

/// A connection to the switch of a network, which is started if there is none.
pub fn reach(door: &Door) -> io::Result<Seqpacket> {
    match connect(door)? {
        Some(socket) => Ok(socket),
        None => {
            start(door)?;
            Seqpacket::connect(&door.switch_path())
        }
    }
}

/// A connection to the switch of a network; `None` where there is none.
pub fn connect(door: &Door) -> io::Result<Option<Seqpacket>> {
    match Seqpacket::connect(&door.switch_path()) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(error),
        },
    }
}

fn start(door: &Door) -> io::Result<()> {
    remove_socket(&door.folder)?;
    let listener = OwnedFd::from(Listener::bind(&door.switch_path())?);
    let (ours, theirs) = Seqpacket::pair()?;
    let mut child = Command::new("/proc/self/exe")
        .arg0(SWITCH_NAME)
        .arg(SWITCH_VERB)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let files = [listener.as_fd(), door.folder.as_fd()];
    let sent = ours.send(&serde_json::to_vec(&door.record.subnets)?, &files);
    drop(ours);
    // It leaves the rest to a child of its own.
    let status = child.wait()?;
    match status.success() {
        true => sent,
        false => Err(io::Error::other("its process failed")),
    }
}

/// Removes the socket from a network's folder.
fn remove_socket(folder: &OwnedFd) -> io::Result<()> {
    match unlinkat(folder, SWITCH, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Is one, as the parent orders over stdin.
pub fn serve() -> ExitCode {
    match obey() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn obey() -> io::Result<()> {
    let parent = Seqpacket::from(io::stdin().as_fd().try_clone_to_owned()?);
    let Some(Message { bytes, files }) = parent.receive()? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let subnets: Subnets = serde_json::from_slice(&bytes)?;
    let [listener, folder] = <[OwnedFd; 2]>::try_from(files)
        .map_err(|_| io::Error::other("it was started without its files"))?;
    // What else husk's caller had open is nothing for it.
    keep_only(&[listener.as_fd(), folder.as_fd()])?;
    let _adopted = fork(|| {
        let _own_session = setsid();
        take_care(listener, &folder, subnets).is_ok()
    })?;
    Ok(())
}

/// Has a switch for a child, and another one where that is killed; removes the socket after the last.
fn take_care(listener: OwnedFd, folder: &OwnedFd, subnets: Subnets) -> io::Result<()> {
    set_name(c"husk-caretaker")?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let lock = File::from(openat(folder, LOCK, flags, Mode::empty())?);
    let ours = statat(folder, SWITCH, AtFlags::empty())?.st_ino;
    let (mut backoff, mut left) = (Backoff::default(), MOST_STARTS);
    while left > 0 {
        let begun = Instant::now();
        let switch = fork(|| {
            let listener = listener.try_clone();
            listener.is_ok_and(|listener| switch(listener.into(), &lock, subnets).is_ok())
        })?;
        if switch.wait()? {
            break;
        }
        // The lock is ours as well as the dead one's.
        flock(&lock, FlockOperation::Unlock)?;
        let lasted = begun.elapsed();
        left = match lasted >= Backoff::STEADY {
            true => MOST_STARTS,
            false => left - 1,
        };
        sleep(backoff.next(lasted));
    }
    drop(listener);
    // Ours already, unless it was killed: the switch has the same.
    flock(&lock, FlockOperation::LockExclusive)?;
    match statat(folder, SWITCH, AtFlags::empty()) {
        Ok(found) if found.st_ino == ours => remove_socket(folder),
        // Somebody else's, or gone.
        _ => Ok(()),
    }
}

fn switch(listener: Listener, lock: &File, subnets: Subnets) -> io::Result<()> {
    keep_only(&[listener.as_fd(), lock.as_fd()])?;
    set_name(c"husk-switch")?;
    let mut switch = Switch::new(listener, subnets, raise_open_files())?;
    confine_switch()?;
    // Who started it connects at once.
    let deadline = Instant::now() + PATIENCE;
    while switch.is_deserted() && Instant::now() < deadline {
        switch.work(Some(BETWEEN))?;
    }
    loop {
        while !switch.is_deserted() {
            switch.work(None)?;
        }
        if flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            switch.accept();
            if switch.is_deserted() {
                return Ok(());
            }
            flock(lock, FlockOperation::Unlock)?;
        }
        switch.work(Some(BETWEEN))?;
    }
}
