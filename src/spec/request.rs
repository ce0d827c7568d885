//! What the user typed, before anything is known about the image.

use std::path::PathBuf;
use std::time::Duration;

use husk_init::job::Size;
use serde::{Deserialize, Serialize};

use super::container::Wall;
use super::health::HealthRequest;
use super::lifecycle::Lifecycle;
use super::network::{Egress, Network};
use super::{size, words};

/// One word about the environment, in the order typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvWord {
    /// `-e K=V`, a line of an env file, or `-e K` with K set on the host.
    Set(
        #[serde(with = "words")] Vec<u8>,
        #[serde(with = "words")] Vec<u8>,
    ),
    /// `-e K` with K not set on the host: the image's K goes, as docker has it.
    Unset(#[serde(with = "words")] Vec<u8>),
}

/// What husk's own program does in the run: it is put beside the image (`PROBE_PATH`), and is what runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// It runs instead of the image's program, as root and in `/`; the command is its arguments.
    Measure,
    /// It runs the command, as whoever and wherever the command would, and then says on stderr what that
    /// changed in the file system, between lines that begin with this token.
    Changes(String),
}

/// A `run`, as asked for. Absent is `None`: the image or a default decides.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRequest {
    /// Name of the machine.
    pub name: Option<String>,
    /// Replaces the image's CMD.
    #[serde(with = "words")]
    pub command: Vec<Vec<u8>>,
    /// Replaces the image's ENTRYPOINT (and drops its CMD); empty clears it.
    #[serde(with = "words")]
    pub entrypoint: Option<Vec<u8>>,
    /// Environment words.
    pub env: Vec<EnvWord>,
    /// Working directory.
    pub workdir: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Guest memory as typed.
    pub memory: Option<String>,
    /// CPUs as typed.
    pub cpus: Option<String>,
    /// Size of a disk for what is written to the root file system, as typed.
    pub disk: Option<String>,
    /// Root file system without writes.
    pub read_only: bool,
    /// `PATH[:OPTIONS]` each.
    pub tmpfs: Vec<String>,
    /// `-v`: `SOURCE:TARGET[:OPTIONS]` each.
    pub volumes: Vec<String>,
    /// `--mount`: `type=…,source=…,target=…` each.
    pub mounts: Vec<String>,
    /// `NAME=SOFT[:HARD]` each.
    pub ulimits: Vec<String>,
    /// Another kernel than the embedded one.
    #[serde(with = "words")]
    pub kernel: Option<PathBuf>,
    /// An initial RAM disk for it.
    #[serde(with = "words")]
    pub initrd: Option<PathBuf>,
    /// Words added to the kernel's command line.
    pub kernel_args: Vec<String>,
    /// Kills the workload after this long.
    pub timeout: Option<Duration>,
    /// How long the guest may take to report.
    pub boot_timeout: Option<Duration>,
    /// Which network; the machine's own when nobody says.
    pub network: Option<Network>,
    /// Whom it reaches.
    pub egress: Option<Egress>,
    /// `[IP:]HOST:GUEST[/tcp|udp]` each.
    pub publish: Vec<String>,
    /// Which wall.
    pub wall: Wall,
    /// Whether husk's own program is part of it.
    pub probe: Option<Probe>,
    /// Connect stdin.
    pub stdin: bool,
    /// Run on a pseudo-terminal of this size.
    #[serde(with = "size")]
    pub terminal: Option<Size>,
    /// Let the kernel speak on its console.
    pub verbose_console: bool,
    /// Count the guest's exits.
    pub count_exits: bool,
    /// Whether the workload is well.
    pub health: HealthRequest,
    /// The machine's life, of which this is a run.
    pub lifecycle: Lifecycle,
}
