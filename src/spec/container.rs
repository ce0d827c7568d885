//! What a container is made of.

use std::path::PathBuf;
use std::time::Duration;

use husk_init::job::Job;
use serde::{Deserialize, Serialize};

use super::words;

use super::cpu_list::CpuList;
use super::cpus::Cpus;
use super::machine::Share;
use super::rates::DeviceRates;

/// Which wall stands between a workload and its host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Wall {
    /// A machine of its own.
    #[default]
    Vm,
    /// Namespaces of the host's kernel.
    Container(OciRuntime),
}

/// Who makes a container out of a bundle (OCI runtime specification).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OciRuntime {
    /// husk itself.
    #[default]
    Embedded,
    /// A program with runc's command line: a name to be found in PATH, or a path.
    Program(#[serde(with = "words")] PathBuf),
}

/// Which limits somebody asked for, and did not just get.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// `--memory`.
    pub memory: bool,
    /// `--cpus`.
    pub cpus: bool,
    /// `--cpuset-cpus`.
    pub cpuset: bool,
    /// `--pids-limit`.
    pub tasks: bool,
    /// `--device-read-bps` and its like.
    pub rates: bool,
}

/// Something that this host does not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What, as a sentence.
    pub text: String,
    /// Whether somebody asked for it.
    pub asked: bool,
}

/// A container: what the namespace wall needs to know.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// The name it is known by to the runtime, unique on the host.
    pub id: String,
    /// Who makes it.
    pub runtime: OciRuntime,
    /// The image's tree as a directory.
    pub tree: PathBuf,
    /// What of the host's files it sees, in the order of the job's shares.
    pub shares: Vec<Share>,
    /// A program of husk's own that stands in the root, read-only (`PROBE_PATH`).
    pub probe: Option<PathBuf>,
    /// A directory on which this run's own files are mounted: empty, and shared by all runs.
    pub workspace: PathBuf,
    /// An empty directory on disk for what the workload writes, where memory cannot take it.
    pub written: Option<PathBuf>,
    /// Most memory, bytes.
    pub memory: u64,
    /// Memory that it is pressed towards, bytes, where the host is short of it.
    pub reservation: Option<u64>,
    /// CPUs' worth of time.
    pub cpus: Cpus,
    /// The host's CPUs that it may use; `None` for all.
    pub cpuset: Option<CpuList>,
    /// How fast the host's disks may be used.
    pub rates: DeviceRates,
    /// Which of these, and of the job's, were asked for.
    pub asked: Asked,
    /// What both walls do with a root, and the workload.
    pub job: Job,
    /// Kills the workload after this long.
    pub timeout: Option<Duration>,
}
