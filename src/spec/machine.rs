//! What a machine is made of.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::cpus::Cpus;
use super::egress::EgressPolicy;
use super::mounts::Owner;
use super::network::{NetLimits, Transport};
use super::networks::Seat;
use super::rates::DeviceRates;

/// One run of bytes of the stitched disk: the whole of a file, padded with zeros to `len`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The file, read-only.
    pub file: PathBuf,
    /// Bytes it takes on the disk: a multiple of 4096, at least the file's size.
    pub len: u64,
}

/// A disk that the guest may write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its file; the machine's process gets it open, and does not hear of this.
    #[serde(skip)]
    pub file: PathBuf,
    /// Its bytes: a multiple of 4096.
    pub len: u64,
}

/// A directory or file of the host that the guest sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Where it is; the machine's process gets it open, and does not hear of this.
    #[serde(skip)]
    pub path: PathBuf,
    /// Whether the guest may not change it.
    pub read_only: bool,
    /// Whose its files are.
    pub owner: Owner,
}

/// The far end of a machine's network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VmNetwork {
    /// Whom it reaches.
    pub egress: EgressPolicy,
    /// How much of that.
    pub limits: NetLimits,
    /// The host's resolvers.
    pub resolvers: Vec<IpAddr>,
    /// The host's /etc/hosts.
    pub hosts: String,
    /// Ports of the machine's that the host listens for; the machine's process gets the sockets, in this order.
    pub doors: Vec<(u16, Transport)>,
    /// Its places on networks; the machine's process gets the sockets, in this order.
    pub seats: Vec<Seat>,
}

/// A machine: what the VMM needs to know to build it, apart from the open files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// The name it is listed by.
    pub name: String,
    /// Virtual CPUs, and how much each may be used.
    pub cpus: Cpus,
    /// Guest memory, bytes.
    pub memory: u64,
    /// What the process of the machine should hold of the host's memory at most, bytes; then it has a balloon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<u64>,
    /// The kernel: an uncompressed ELF or a bzImage.
    pub kernel: PathBuf,
    /// Whether the kernel is not husk's own: its file may change while it runs, and it may learn of the
    /// machine by ACPI alone.
    pub kernel_is_foreign: bool,
    /// An initial RAM disk for it.
    pub initrd: Option<PathBuf>,
    /// The disk, piece after piece.
    pub disk: Vec<Piece>,
    /// The disk for what is written to the root, if it is not kept in memory.
    pub written: Option<Written>,
    /// How fast both disks together may be used.
    #[serde(default, skip_serializing_if = "DeviceRates::is_empty")]
    pub rates: DeviceRates,
    /// What it sees of the host's files.
    pub shares: Vec<Share>,
    /// Its network, if it has one.
    pub network: Option<VmNetwork>,
    /// Words added to the kernel's command line.
    pub kernel_args: Vec<String>,
    /// Whether the kernel says everything on its console (`--verbose` twice).
    pub verbose_console: bool,
    /// Whether the guest's exits are counted.
    pub count_exits: bool,
}
