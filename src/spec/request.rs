//! What the user typed, before anything is known about the image.

use std::path::PathBuf;
use std::time::Duration;

use husk_init::job::Size;
use serde::{Deserialize, Deserializer, Serialize};

use super::container::Wall;
use super::health::HealthRequest;
use super::lifecycle::Lifecycle;
use super::network::Network;
use super::networks::Joining;
use super::rates::RateWords;
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
///
/// What nobody asked for is not written down: of each machine in a list there is one to be read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRequest {
    /// Name of the machine.
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// Replaces the image's CMD.
    #[serde(with = "words", skip_serializing_if = "is_default")]
    pub command: Vec<Vec<u8>>,
    /// Replaces the image's ENTRYPOINT (and drops its CMD); empty clears it.
    #[serde(with = "words", skip_serializing_if = "is_default")]
    pub entrypoint: Option<Vec<u8>>,
    /// Environment words.
    #[serde(skip_serializing_if = "is_default")]
    pub env: Vec<EnvWord>,
    /// Working directory.
    #[serde(skip_serializing_if = "is_default")]
    pub workdir: Option<String>,
    /// `user[:group]`.
    #[serde(skip_serializing_if = "is_default")]
    pub user: Option<String>,
    /// Host name.
    #[serde(skip_serializing_if = "is_default")]
    pub hostname: Option<String>,
    /// Guest memory as typed.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Option<String>,
    /// Memory that it is pressed towards, as typed.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_reservation: Option<String>,
    /// CPUs as typed.
    #[serde(skip_serializing_if = "is_default")]
    pub cpus: Option<String>,
    /// The host's CPUs as typed.
    #[serde(skip_serializing_if = "is_default")]
    pub cpuset_cpus: Option<String>,
    /// Most processes and threads as typed.
    #[serde(skip_serializing_if = "is_default")]
    pub pids_limit: Option<String>,
    /// How fast the disks may be used, as typed.
    #[serde(skip_serializing_if = "is_default")]
    pub device_rates: RateWords,
    /// Size of a disk for what is written to the root file system, as typed.
    #[serde(skip_serializing_if = "is_default")]
    pub disk: Option<String>,
    /// Root file system without writes.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// `PATH[:OPTIONS]` each.
    #[serde(skip_serializing_if = "is_default")]
    pub tmpfs: Vec<String>,
    /// `-v`: `SOURCE:TARGET[:OPTIONS]` each.
    #[serde(skip_serializing_if = "is_default")]
    pub volumes: Vec<String>,
    /// `--mount`: `type=…,source=…,target=…` each.
    #[serde(skip_serializing_if = "is_default")]
    pub mounts: Vec<String>,
    /// `NAME=SOFT[:HARD]` each.
    #[serde(skip_serializing_if = "is_default")]
    pub ulimits: Vec<String>,
    /// Another kernel than the embedded one.
    #[serde(with = "words", skip_serializing_if = "is_default")]
    pub kernel: Option<PathBuf>,
    /// An initial RAM disk for it.
    #[serde(with = "words", skip_serializing_if = "is_default")]
    pub initrd: Option<PathBuf>,
    /// Words added to the kernel's command line.
    #[serde(skip_serializing_if = "is_default")]
    pub kernel_args: Vec<String>,
    /// Kills the workload after this long.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: Option<Duration>,
    /// How long the guest may take to report.
    #[serde(skip_serializing_if = "is_default")]
    pub boot_timeout: Option<Duration>,
    /// Which network; the machine's own when nobody says.
    #[serde(skip_serializing_if = "is_default")]
    pub network: Option<Network>,
    /// Networks on which it reaches other machines; the first one's gateway is its own.
    #[serde(skip_serializing_if = "is_default")]
    pub networks: Vec<Joining>,
    /// Whom it reaches: words and rules, as typed.
    #[serde(
        deserialize_with = "one_or_several",
        skip_serializing_if = "is_default"
    )]
    pub egress: Vec<String>,
    /// Most conversations at once, as typed.
    #[serde(skip_serializing_if = "is_default")]
    pub net_connections: Option<String>,
    /// Most bytes a second each way, as typed.
    #[serde(skip_serializing_if = "is_default")]
    pub net_rate: Option<String>,
    /// Most bytes in all, as typed.
    #[serde(skip_serializing_if = "is_default")]
    pub net_bytes: Option<String>,
    /// `[IP:]HOST:GUEST[/tcp|udp]` each.
    #[serde(skip_serializing_if = "is_default")]
    pub publish: Vec<String>,
    /// Whether all ports that the image names are published, too.
    #[serde(skip_serializing_if = "is_default")]
    pub publish_all: bool,
    /// Which wall.
    #[serde(skip_serializing_if = "is_default")]
    pub wall: Wall,
    /// Whether husk's own program is part of it.
    #[serde(skip_serializing_if = "is_default")]
    pub probe: Option<Probe>,
    /// Connect stdin.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin: bool,
    /// Run on a pseudo-terminal of this size.
    #[serde(with = "size", skip_serializing_if = "is_default")]
    pub terminal: Option<Size>,
    /// Let the kernel speak on its console.
    #[serde(skip_serializing_if = "is_default")]
    pub verbose_console: bool,
    /// Count the guest's exits.
    #[serde(skip_serializing_if = "is_default")]
    pub count_exits: bool,
    /// Whether the workload is well.
    #[serde(skip_serializing_if = "is_default")]
    pub health: HealthRequest,
    /// The machine's life, of which this is a run.
    #[serde(skip_serializing_if = "is_default")]
    pub lifecycle: Lifecycle,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What was one word, or none, in the records of earlier versions.
fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Several(Vec<String>),
        One(Option<String>),
    }
    Ok(match Words::deserialize(from)? {
        Words::Several(words) => words,
        Words::One(word) => word.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_earlier_versions_keep_whom_they_reach() {
        let table = [
            (r#"{"egress":"public"}"#, &["public"][..]),
            (r#"{"egress":null}"#, &[]),
            (r#"{}"#, &[]),
            (
                r#"{"egress":["deny:10.0.0.0/8","any"]}"#,
                &["deny:10.0.0.0/8", "any"],
            ),
        ];
        for (text, words) in table {
            let request: RunRequest = serde_json::from_str(text).unwrap();
            assert_eq!(request.egress, words, "{text}");
        }
    }
}
