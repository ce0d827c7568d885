//! How fast the disks may be used: the flags that `run`, `compare` and `update` share.

use crate::spec::RateWords;

/// Flags about disks.
#[derive(Debug, Clone, clap::Args)]
pub struct Rates {
    /// Most bytes a second that are read of the machine's disks, like 10m; docker's PATH in front means the same. A
    /// container has the host's disks: PATH, or the one with the images. 0 is no bound
    #[arg(long, value_name = "[PATH:]RATE")]
    device_read_bps: Option<String>,
    /// The same of what is written to them
    #[arg(long, value_name = "[PATH:]RATE")]
    device_write_bps: Option<String>,
    /// Most requests a second that read, like 100
    #[arg(long, value_name = "[PATH:]RATE")]
    device_read_iops: Option<String>,
    /// Most requests a second that write
    #[arg(long, value_name = "[PATH:]RATE")]
    device_write_iops: Option<String>,
}

impl Rates {
    /// What was typed.
    pub fn words(&self) -> RateWords {
        RateWords {
            read_bps: self.device_read_bps.clone(),
            write_bps: self.device_write_bps.clone(),
            read_iops: self.device_read_iops.clone(),
            write_iops: self.device_write_iops.clone(),
        }
    }
}
