//! What an image says about how to run it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::health::ImageHealth;

/// The run-time half of an image configuration (OCI image spec, "Image Configuration", `config`).
///
/// Absent and empty are the same here, as they are for Docker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Command prefix; `CMD` follows it.
    pub entrypoint: Vec<String>,
    /// Default arguments, or the command itself without an entry point.
    pub cmd: Vec<String>,
    /// `KEY=VALUE` each.
    pub env: Vec<String>,
    /// Working directory; empty is `/`.
    pub workdir: String,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// Paths that hold data of their own.
    pub volumes: Vec<String>,
    /// Free-form annotations.
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the workload to stop (`SIGTERM`, `15`); empty is SIGTERM.
    pub stop_signal: String,
    /// `80/tcp` each: ports the workload listens on, for documentation.
    pub exposed_ports: Vec<String>,
    /// How to find out whether the workload is well.
    #[serde(default)]
    pub health: ImageHealth,
}
