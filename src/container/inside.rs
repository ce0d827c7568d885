//! husk's own archiver in a container: what init's program is in a guest. It is husk's binary once more, a
//! child of who keeps the container, in the container's mounts and otherwise in the keeper's surroundings: no
//! link and no path leads out of the container's root, and nobody in the container sees the process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use husk_init::archive::program;
use rustix::stdio::dup2_stdin;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::running::Init;
use crate::sys::seqpacket::{Message, Seqpacket};

/// The verb by which the binary becomes one. Not for people.
pub const ARCHIVER_VERB: &str = "archiver";

/// Starts one in the container of `init`, whose workspace is `workspace`, with `files` as its streams.
pub fn archive(
    init: &Init,
    workspace: &Path,
    words: &[Vec<u8>],
    files: [OwnedFd; 3],
) -> io::Result<Child> {
    let [stdin, stdout, stderr] = files;
    let upper = File::open(workspace.join("written/upper"))?;
    let (ours, theirs) = Seqpacket::pair()?;
    let mut child = Command::new("/proc/self/exe")
        .arg0(program::NAME)
        .arg(ARCHIVER_VERB)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(stdout)
        .stderr(stderr)
        // The terminal's Ctrl-C is for the workload.
        .process_group(0)
        .spawn()?;
    let order = serde_json::to_vec(words)?;
    let sent = ours.send(&order, &[init.pidfd.as_fd(), upper.as_fd(), stdin.as_fd()]);
    if let Err(error) = sent {
        drop(ours);
        // Without an order it ends at once.
        child.wait()?;
        return Err(error);
    }
    Ok(child)
}

/// Is one: takes its order, enters the container's mounts, and carries it out.
pub fn serve() -> ExitCode {
    match obey() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("the container cannot be entered: {error}");
            ExitCode::FAILURE
        }
    }
}

fn obey() -> io::Result<u8> {
    let keeper = Seqpacket::from(io::stdin().as_fd().try_clone_to_owned()?);
    let Some(Message { bytes, files }) = keeper.receive()? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let words: Vec<Vec<u8>> = serde_json::from_slice(&bytes)?;
    let [init, upper, stdin] = <[OwnedFd; 3]>::try_from(files)
        .map_err(|_| io::Error::other("it came without its files"))?;
    dup2_stdin(&stdin)?;
    drop(stdin);
    // This is the only thread, so that root and working directory are nobody else's.
    move_into_thread_name_spaces(init.as_fd(), ThreadNameSpaceType::MOUNT)?;
    Ok(program::run(&words, Some(upper)))
}
