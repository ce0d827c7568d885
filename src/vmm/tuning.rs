//! What may be changed of a machine that runs: told by its parent, done in its process. Of memory the process says how far
//! it is, to who asks: there it depends on the guest.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::balloons::{Balloons, Pressure};
use super::throttle::Allowance;
use super::uplink::{self, Order};
use crate::devices::virtio::balloon::Sizes;
use crate::devices::virtio::pace::Pace;
use crate::spec::{Cpus, DeviceRates};
use crate::sys::seqpacket::Seqpacket;

/// A change; what it does not speak of stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tuning {
    /// How much its vCPUs may be used together.
    pub cpus: Option<Cpus>,
    /// Memory that its guest may use, bytes, of what it booted with.
    pub memory: Option<u64>,
    /// What its process should hold of the host's memory at most, bytes.
    pub reservation: Option<u64>,
    /// How fast its disks may be used together.
    pub rates: Option<DeviceRates>,
}

/// How long its process may take to answer, which never waits for the guest.
const PATIENCE: Duration = Duration::from_secs(10);

/// The parent's way to tell it.
#[derive(Debug)]
pub struct Tuner(Seqpacket);

/// Who does it.
#[derive(Debug)]
pub struct Governor {
    /// How much each vCPU may be used.
    pub allowance: Arc<Allowance>,
    /// What the balloons work towards.
    pub sizes: Arc<Sizes>,
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

    /// Tells it, and asks how its balloons are; the inner error is why they cannot be as they should.
    pub fn press(&self, tuning: Tuning) -> io::Result<Result<Pressure, String>> {
        let (ours, theirs) = Seqpacket::pair()?;
        uplink::send(&self.0, &Order::Tune(tuning), &[theirs.as_fd()])?;
        drop(theirs);
        let limit = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&ours, PollFlags::IN)], Some(&limit))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match uplink::receive(&ours)? {
            Some((answer, _)) => Ok(answer),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Governor {
    /// Does it.
    pub(super) fn tune(&self, tuning: &Tuning) {
        if let Some(rates) = &tuning.rates {
            self.pace.set(rates, Instant::now());
        }
        if let Some(cpus) = tuning.cpus {
            // A thread that cannot be interrupted has ended, and with it soon the machine.
            let _ended = self.allowance.set(cpus, self.vcpus);
        }
    }
}

/// Has memory as `tuning` says, and answers by `file`, where somebody wants to know.
pub(super) fn press(balloons: &Balloons, tuning: &Tuning, file: Option<OwnedFd>) {
    let done = balloons.tune(tuning);
    let answer = done.map_or_else(|error| Err(error.to_string()), |()| Ok(balloons.look()));
    if let Some(file) = file {
        // Who asked may be gone.
        let _gone = uplink::send(&Seqpacket::from(file), &answer, &[]);
    }
}
