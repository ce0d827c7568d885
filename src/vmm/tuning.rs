//! What may be changed of a machine that runs: told by its parent, done in its process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::throttle::Allowance;
use super::uplink::{self, Order};
use crate::devices::virtio::balloon::Reservation;
use crate::devices::virtio::pace::Pace;
use crate::spec::{Cpus, DeviceRates};
use crate::sys::seqpacket::Seqpacket;

/// A change; what it does not speak of stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tuning {
    /// How much its vCPUs may be used together.
    pub cpus: Option<Cpus>,
    /// What its process should hold of the host's memory at most, bytes, where it has a balloon.
    pub reservation: Option<u64>,
    /// How fast its disks may be used together.
    pub rates: Option<DeviceRates>,
}

/// The parent's way to tell it.
#[derive(Debug)]
pub struct Tuner(Seqpacket);

/// Who does it.
#[derive(Debug)]
pub struct Governor {
    /// How much each vCPU may be used.
    pub allowance: Arc<Allowance>,
    /// What the balloon works towards.
    pub reservation: Reservation,
    /// How fast the disks may be used.
    pub pace: Arc<Pace>,
    /// How many vCPUs there are.
    pub vcpus: u32,
}

impl Tuner {
    /// Over the socket to the machine's process.
    pub(super) fn over(uplink: Seqpacket) -> Self {
        Self(uplink)
    }

    /// Tells it. A machine that is halted does it when it goes on; `WouldBlock` if it was told too much meanwhile.
    pub fn tune(&self, tuning: Tuning) -> io::Result<()> {
        uplink::send_now(&self.0, &Order::Tune(tuning))
    }
}

impl Governor {
    /// Does it.
    pub(super) fn tune(&self, tuning: &Tuning) {
        if let Some(rates) = &tuning.rates {
            self.pace.set(rates, Instant::now());
        }
        if let Some(bytes) = tuning.reservation {
            self.reservation.store(bytes, Ordering::Relaxed);
        }
        if let Some(cpus) = tuning.cpus {
            // A thread that cannot be interrupted has ended, and with it soon the machine.
            let _ended = self.allowance.set(cpus, self.vcpus);
        }
    }
}
