//! Flags about a workload's health, which `husk run` and `husk create` share.

use std::time::Duration;

use crate::spec::{HealthRequest, units};

/// The flags.
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    /// Check by this line of the image's shell whether the workload is well
    #[arg(long, value_name = "LINE")]
    health_cmd: Option<String>,
    /// Time between two checks [default: the image's, or 30s]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    health_interval: Option<Duration>,
    /// Time that a check may take [default: the image's, or 30s]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    health_timeout: Option<Duration>,
    /// Time at the beginning in which failures count for nothing
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    health_start_period: Option<Duration>,
    /// Time between two checks meanwhile [default: the image's, or 5s]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    health_start_interval: Option<Duration>,
    /// Failures in a row that make it unhealthy [default: the image's, or 3]
    #[arg(long, value_name = "N")]
    health_retries: Option<u32>,
    /// Check nothing, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
}

impl Flags {
    /// What they ask for.
    pub fn request(&self) -> HealthRequest {
        HealthRequest {
            none: self.no_healthcheck,
            command: self.health_cmd.clone(),
            interval: self.health_interval,
            timeout: self.health_timeout,
            start_period: self.health_start_period,
            start_interval: self.health_start_interval,
            retries: self.health_retries,
        }
    }
}
