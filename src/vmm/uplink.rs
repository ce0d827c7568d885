//! What `husk run` and the process of its machine say to each other.
//!
//! ```text
//!  husk run                                   the machine's process
//!    ├── Create + kvm ──────────────────────────────▶ │
//!    ├── Share + folders… ──────────────────────────▶ │   if there are any
//!    ├── Listen + sockets… ─────────────────────────▶ │   if ports are published
//!    ├── Note + file ───────────────────────────────▶ │   if there is a network of its own
//!    ├── Plug + connections… ───────────────────────▶ │   if it is on networks with other machines
//!    ├── Wire + a cable, vhost-net ─────────────────▶ │   or if its network is one of the host's: for each queue
//!    ├── Build{spec} + console, kernel, disk… ──────▶ │
//!    │ ◀──────────────── Loaded, Created, Built ──────┤   or Failed{text}
//!    │ ◀──────────── Connected{port} + a socket ──────┤   once per connection of the guest
//!    ├── Admit{session} ──────────────────────────────▶ │   for each session beside the workload
//!    │ ◀──────────────────── Admitted{session} ───────┤   then the guest is asked to run it
//!    ├── Tune{…} + a socket ──────────────────────────▶ │   what somebody changes while it runs; how memory is
//!    │                                                  │   then, is said by the socket, if there is one
//!    ├── Rewire{…} + a connection ────────────────────▶ │   for networks, while it runs
//!    ├── ReportExits ─────────────────────────────────▶ │   if they are counted, and the machine has not
//!    │ ◀──────────────────────── Exits{counts} ───────┤   said so before its end
//!    │ ◀─────────────────────── Stopped{reason} ──────┤
//! ```
//!
//! The socket is the leash: when `husk run` dies the other end closes, and the machine with it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::tuning::Tuning;
use crate::kvm::Flavour;
use crate::net::Rewiring;
use crate::spec::VmSpec;
use crate::sys::seqpacket::Seqpacket;

/// Connections that a guest may open without being asked: the control channel, three streams, and room
/// for one retry of each. Each session that it is asked for later brings its own. Both sides count: the
/// machine, so that a guest cannot keep `husk run` busy, and `husk run`, because a machine that was taken
/// over does not count.
pub const MAX_CONNECTIONS: usize = 8;

/// From `husk run` to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Have KVM make a VM: that takes it some time, whatever will run in it. Files: KVM.
    Create,
    /// Take these for the machine's shares: as many messages as there are files for. Files: folders and
    /// files of the host, in the order of the spec's shares.
    Share,
    /// Let in who comes by these: as many messages as there are files for. Files: sockets that listen, in the
    /// order of the doors of the spec's network.
    Listen,
    /// Write what the guest tries to reach into this. File: one of the host's.
    Note,
    /// Reach the other machines on the guest's networks by these. Files: connections to switches, in the order of the
    /// places of the spec's network.
    Plug,
    /// Lead the guest's next cable here: it has one for each queue of its card. Files: that of a TAP interface, and that of
    /// what moves frames in the host's kernel, if it has that.
    Wire,
    /// Build and start this machine. Files: the console's pipe, the kernel, the initial RAM disk if
    /// there is one, the disk's pieces, the disk that is written.
    Build(Box<VmSpec>),
    /// Change what may be changed of a machine that runs. File: a socket for how its memory is then, if somebody wants to
    /// know.
    Tune(Tuning),
    /// Change the guest's networks. Files: that of the change.
    Rewire(Rewiring),
    /// Say how often the guest left its vCPUs, if that is counted.
    ReportExits,
    /// Let the guest open that many connections more, for this session.
    Admit {
        /// How many.
        connections: usize,
        /// The session.
        session: u32,
    },
}

/// From the machine to `husk run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The kernel is in memory.
    Loaded,
    /// There is a VM.
    Created,
    /// The machine is built and about to execute its first instruction.
    Built {
        /// How it will be executed.
        flavour: Flavour,
    },
    /// The machine could not be built, or died of husk's own failure.
    Failed {
        /// Why, as a sentence.
        text: String,
    },
    /// The guest connected to a port of the host; the file is the host's end.
    Connected {
        /// The port.
        port: u32,
    },
    /// The guest may open the connections of this session.
    Admitted {
        /// The session.
        session: u32,
    },
    /// How often the guest left its vCPUs until now, by reason.
    Exits {
        /// The counters that are not zero.
        counts: BTreeMap<String, u64>,
    },
    /// The guest ended: it rebooted, powered off, or shut down by a triple fault.
    Stopped {
        /// How.
        reason: String,
    },
}

/// Sends a message and its files.
pub fn send<T: Serialize>(
    socket: &Seqpacket,
    message: &T,
    files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    socket.send(&serde_json::to_vec(message)?, files)
}

/// Sends a message if there is room for it now; `WouldBlock` if the other side has not read for long.
pub fn send_now<T: Serialize>(socket: &Seqpacket, message: &T) -> io::Result<()> {
    socket.send_now(&serde_json::to_vec(message)?)
}

/// Waits for a message; `None` when the other side is gone.
pub fn receive<T: DeserializeOwned>(socket: &Seqpacket) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    match socket.receive()? {
        Some(message) => Ok(Some((
            serde_json::from_slice(&message.bytes)?,
            message.files,
        ))),
        None => Ok(None),
    }
}
