//! The far end of a container's network: a process outside of the container, with the engine that a machine's
//! process has, or with an interface of the host's. It is husk's binary once more, which was given open files and no path.
//!
//! ```text
//!  husk run                                   the far end
//!    ├── starts it ──────────────────────────────────▶ │   in the host's network
//!  leaves for a network of its own, where the container will be, and makes an interface there
//!    ├── Listen + sockets… ──────────────────────────▶ │   if ports are published
//!    ├── Note + a file ──────────────────────────────▶ │   what the container tries to reach
//!    ├── Plug + connections… ────────────────────────▶ │   if it is on networks with other machines
//!    ├── Begin{network} + the interface's cable ─────▶ │   no way back: system calls and capabilities are dropped
//!    │   or Join + that and the host's cable           │   if it has a place on a network of the host's instead
//!    │ ◀───────────────────────────────── Ready ───────┤   or Failed{text}
//!    ├── Rewire{…} + a connection ───────────────────▶ │   for networks, while it runs
//!    │ ◀───────────────────────── Failed{text} ────────┤   a mistake of husk's own, at any time
//! ```
//!
//! The socket is the leash: when `husk run` lets go of it, by whatever end, the process ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::set_name;
use serde::{Deserialize, Serialize};

use super::cable::Cable;
use super::confine::confine;
use super::error::Error;
use super::joint::Joint;
use crate::net::{Changes, Network, Plugs, Rewiring, Setup, room};
use crate::spec::VmNetwork;
use crate::sys::fork::keep_only;
use crate::sys::limits::raise_open_files;
use crate::sys::linger::Linger;
use crate::sys::panics;
use crate::sys::seqpacket::{MAX_FILES, Message, Seqpacket};

/// The verb by which the binary becomes one. Not for people.
pub const FAR_END_VERB: &str = "far-end";

/// What the process calls itself (`argv[0]`).
const FAR_END_NAME: &str = "husk-far-end";

/// Not at all.
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// From `husk run`.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Let in who comes by these: as many messages as there are files for. Files: sockets that listen.
    Listen,
    /// Write down here what is tried. Files: one to write to.
    Note,
    /// Reach the other machines on its networks by these. Files: connections to switches.
    Plug,
    /// Change its networks, while it runs. Files: that of the change.
    Rewire(Rewiring),
    /// Serve this network. Files: the cable of the container's interface.
    Begin(VmNetwork),
    /// Join the interface to one of the host's. Files: the cables of both, the container's first.
    Join,
}

/// What is behind the container's interface, whose cable is the first file.
enum Behind {
    /// The engine.
    Engine(OwnedFd, Setup),
    /// An interface of the host's, whose cable is the second.
    Host([OwnedFd; 2]),
}

/// To `husk run`.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    /// The network is there.
    Ready,
    /// There is none, or none any more.
    Failed {
        /// Why, as a sentence.
        text: String,
    },
}

/// The process; it ends when this is let go of.
#[derive(Debug)]
pub struct FarEnd {
    process: Child,
    /// The leash.
    socket: Seqpacket,
}

impl FarEnd {
    /// Starts it in this process's network, which is the one that its container will reach.
    pub fn start() -> Result<Self, Error> {
        let (socket, theirs) = Seqpacket::pair().map_err(Error::Process)?;
        let process = Command::new("/proc/self/exe")
            .arg0(FAR_END_NAME)
            .arg(FAR_END_VERB)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            // One that was taken over writes nothing to the user's terminal.
            .stderr(Stdio::null())
            // The terminal's Ctrl-C is for the workload.
            .process_group(0)
            .spawn()
            .map_err(Error::Process)?;
        Ok(Self { process, socket })
    }

    /// Has it serve `network` behind the interface of `tap`; `doors` are the sockets of published ports.
    pub fn begin(&self, tap: &OwnedFd, network: VmNetwork, doors: &[OwnedFd]) -> Result<(), Error> {
        for doors in doors.chunks(MAX_FILES) {
            let files: Vec<_> = doors.iter().map(AsFd::as_fd).collect();
            self.order(&Order::Listen, &files)?;
        }
        self.order(&Order::Begin(network), &[tap.as_fd()])
    }

    /// Has it join the interface of `tap` to one of the host's, whose cable is `outer`.
    pub fn join(&self, tap: &OwnedFd, outer: &OwnedFd) -> Result<(), Error> {
        self.order(&Order::Join, &[tap.as_fd(), outer.as_fd()])
    }

    /// Has it write what the container tries to reach into `attempts`.
    pub fn note(&self, attempts: &File) -> Result<(), Error> {
        self.order(&Order::Note, &[attempts.as_fd()])
    }

    /// Hands over the connections to the switches of its networks, in the order of the network's places.
    pub fn plug(&self, trunks: &[OwnedFd]) -> Result<(), Error> {
        if trunks.is_empty() {
            return Ok(());
        }
        let files: Vec<_> = trunks.iter().map(AsFd::as_fd).collect();
        self.order(&Order::Plug, &files)
    }

    /// What changes the networks of its container, while it runs.
    pub fn plugs(&self) -> Result<Plugs, Error> {
        let socket = self.socket.try_clone().map_err(Error::Process)?;
        Ok(Plugs::over(socket, |rewiring| {
            serde_json::to_vec(&Order::Rewire(rewiring))
        }))
    }

    fn order(&self, order: &Order, files: &[BorrowedFd<'_>]) -> Result<(), Error> {
        match send(&self.socket, order, files) {
            // It has failed already: its report is on the way, and says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent.map_err(Error::Process),
        }
    }

    /// Waits until the network is there.
    pub fn await_ready(&self) -> Result<(), Error> {
        match self.report().map_err(Error::Process)? {
            Some(Report::Ready) => Ok(()),
            Some(Report::Failed { text }) => Err(Error::Network(text)),
            None => Err(Error::Network("its process was killed".to_owned())),
        }
    }

    /// Whether the network is still there.
    pub fn check(&self) -> Result<(), Error> {
        let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut socket, Some(&AT_ONCE)) {
            // It says nothing more as long as all is well.
            Ok(1..) => self.await_ready(),
            _ => Ok(()),
        }
    }

    fn report(&self) -> io::Result<Option<Report>> {
        match self.socket.receive() {
            Ok(Some(message)) => Ok(Some(serde_json::from_slice(&message.bytes)?)),
            Ok(None) => Ok(None),
            // It died with a message of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Readable when the network is gone.
impl AsFd for FarEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        // Already dead is what we want.
        let _dead = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Is one, as the parent orders over stdin. Nobody reads the exit status.
pub fn serve() -> ExitCode {
    let Ok(stdin) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let keeper = Arc::new(Seqpacket::from(stdin));
    let told = Arc::clone(&keeper);
    let fail = move |text: &str| {
        let text = text.to_owned();
        // The parent may be gone; then nobody needs to know.
        let _gone = send(&told, &Report::Failed { text }, &[]);
    };
    panics::end_with(fail.clone());
    match obey(&keeper) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fail(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn obey(keeper: &Seqpacket) -> io::Result<()> {
    // Even before the leash is watched.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // What else husk's caller had open is nothing for it.
    keep_only(&[keeper.as_fd()])?;
    set_name(c"husk-far-end")?;
    match take_orders(keeper)? {
        Some(Behind::Engine(tap, setup)) => be_engine(keeper, tap, setup),
        Some(Behind::Host(cables)) => be_joint(keeper, cables),
        // The container has no network after all.
        None => Ok(()),
    }
}

fn be_engine(keeper: &Seqpacket, tap: OwnedFd, setup: Setup) -> io::Result<()> {
    // The kernel takes an interface down in several grace periods, and nobody waits for them.
    let _linger = Linger::over(tap.as_fd());
    let network = Network::new(setup, room(raise_open_files(), false))?;
    let changes = network.changes();
    let mut cable = Cable::new(tap, Box::new(network));
    confine()?;
    send(keeper, &Report::Ready, &[])?;
    while cable.run(keeper.as_fd())? && take_change(keeper, &changes)? {
        cable.attend()?;
    }
    Ok(())
}

fn be_joint(keeper: &Seqpacket, [inner, outer]: [OwnedFd; 2]) -> io::Result<()> {
    // As above; but the host's is to be free for the next at once, or gone.
    let _linger = Linger::over(inner.as_fd());
    let mut joint = Joint::new(inner, outer)?;
    confine()?;
    send(keeper, &Report::Ready, &[])?;
    joint.run(keeper.as_fd())
}

/// Takes an order while the container runs; false at the end.
fn take_change(keeper: &Seqpacket, changes: &Changes) -> io::Result<bool> {
    let Some(Message { bytes, mut files }) = keeper.receive()? else {
        return Ok(false);
    };
    match serde_json::from_slice(&bytes)? {
        Order::Rewire(rewiring) => {
            let change = rewiring.with(files.pop());
            changes.put(change.ok_or(io::ErrorKind::InvalidInput)?);
            Ok(true)
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// The cable of the container's interface, and what is at its other end.
fn take_orders(keeper: &Seqpacket) -> io::Result<Option<Behind>> {
    let incomplete = || io::Error::other("it was ordered without its files");
    let (mut doors, mut attempts, mut trunks) = (Vec::new(), None, Vec::new());
    while let Some(Message { bytes, mut files }) = keeper.receive()? {
        match serde_json::from_slice(&bytes)? {
            Order::Listen => doors.extend(files),
            Order::Note => attempts = files.pop(),
            Order::Plug => trunks.extend(files),
            Order::Rewire(_) => return Err(io::ErrorKind::InvalidInput.into()),
            Order::Begin(network) => {
                let setup = Setup::new(network, doors, attempts, trunks);
                let (tap, setup) = files.pop().zip(setup).ok_or_else(incomplete)?;
                return Ok(Some(Behind::Engine(tap, setup)));
            }
            Order::Join => {
                let cables = files.try_into().map_err(|_| incomplete())?;
                return Ok(Some(Behind::Host(cables)));
            }
        }
    }
    Ok(None)
}

fn send(to: &Seqpacket, what: &impl Serialize, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    to.send(&serde_json::to_vec(what)?, files)
}
